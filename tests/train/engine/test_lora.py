"""LoRA+: B matrices in optimiser groups of their own, at their own rate."""

from pathlib import Path

import pytest
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from train.engine.lora import with_faster_b
from train.recipe import RecipeError, read_recipe

RECIPE = Path(__file__).parents[3] / "train/recipes/context_extension.yaml"


@pytest.fixture
def model():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4))
    return inject_adapter_in_model(LoraConfig(r=2, target_modules=["0", "1"]), model)


def test_b_matrices_have_the_higher_rate(model):
    group = {"params": list(model.parameters()), "lr": 0.1, "weight_decay": 0.01, "name": "lora"}
    slow, fast = with_faster_b([group], model, 16.0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in fast["params"]} == {n for n in names.values() if "_B" in n}
    assert len(fast["params"]) == 2 and len(slow["params"]) == len(names) - 2
    assert (slow["lr"], fast["lr"], fast["weight_decay"], fast["name"]) == (0.1, 1.6, 0.01, "lora.b")


def test_a_ratio_of_one_changes_nothing(model):
    groups = [{"params": list(model.parameters()), "lr": 0.1, "name": "lora"}]
    assert with_faster_b(groups, model, 1.0) is groups


def test_a_ratio_without_lora_is_refused():
    plain = nn.Linear(2, 2)
    groups = [{"params": list(plain.parameters()), "lr": 0.1, "name": "all"}]
    with pytest.raises(RecipeError, match=r"lora_b_ratio is 4\.0, but no part that is trained has LoRA"):
        with_faster_b(groups, plain, 4.0)


def test_an_impossible_ratio_is_refused():
    with pytest.raises(RecipeError, match="lora_b_ratio must be a number, above 0, not -1"):
        read_recipe(RECIPE, ["lora_b_ratio=-1"])
