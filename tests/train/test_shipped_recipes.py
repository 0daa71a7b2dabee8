"""Every shipped recipe of a stage, built on the tiny model: its rates name the parts of its task, all and no others.

The foundations' are in test_recipe and beside the foundations; ``llava_qlora`` differs from ``llava_lora`` in its base
alone, which needs a GPU.
"""

import shutil
from dataclasses import replace

import pytest
import torch

from tests.tiny_model import CORE
from tests.train.short_recipes import LORA, RECIPES
from train.recipe import read_recipe
from train.task import build_task, trainable_groups

SIZES = {"dialogues": 10, "tokens_per_bin": 500, "held_out": 2}
GROUP = {"inner_width": 16, "depths": [1, 1], "heads": 2, "group_tokens": [4, 0], "groups": [2]}
SHAPE = {name: CORE[name] for name in ("signal_tokens", "output_projection_settings", "conditions")}
#: What makes the settings of a recipe fit the tiny model; none of it adds a part or takes one away.
FITTING = {
    "encoding_alignment": SIZES | CORE,
    "decoding_alignment": SIZES | {"lora": LORA},
    "instruction_tuning": SIZES | {"lora": LORA},
    "instruction_tuning_turns": SIZES | {"lora": LORA},
    "instruction_tuning_memory": SIZES | {"lora": LORA},
    "joint_training": SIZES | SHAPE | {"bind": CORE["bind"], "dialogues": 18},
    "nextgpt_encoding": SIZES | SHAPE | {"input_projection_settings": GROUP, "image_size": 48},
    "nextgpt_decoding": SIZES,
    "nextgpt_instruction": SIZES | {"lora": LORA},
    "projector": SIZES,
    "llava_projector": SIZES | {"image_size": 48},
    "llava_full": SIZES,
    "llava_lora": SIZES | {"lora": LORA},
    "context_extension": {"length": 64, "rows": 4, "lora": LORA},
    "things_context_extension": {"length": 64, "rows": 4, "cuts": 0, "group": 0.25, "lora": LORA, "passkey_tokens": 0},
    "things_encoding_alignment": SIZES | CORE | {"data": [], "input_features": "pooled"},
    "things_decoding_alignment": SIZES | {"lora": LORA, "data": []},
    "things_instruction_tuning": SIZES | {"lora": LORA, "data": []},
    "text_context_extension": {"length": 64, "rows": 4, "group": 0.25, "lora": LORA, "passkey_tokens": 0, "spread": 16},
}
STAGE_TASKS = {
    "context_extension", "encoding_alignment", "decoding_alignment", "instruction_tuning", "joint_training",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("recipes") / "model")


def test_no_stage_recipe_is_forgotten():
    shipped = {path.stem for path in RECIPES.rglob("*.yaml") if read_recipe(path).task in STAGE_TASKS}
    assert shipped == FITTING.keys() | {"llava_qlora"}


@pytest.mark.parametrize("name", FITTING)
def test_rates_name_the_parts_of_the_task(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(next(RECIPES.rglob(f"{name}.yaml")))
    recipe = replace(recipe, model=str(folder), task_settings=recipe.task_settings | FITTING[name])
    task = build_task(recipe)
    groups = trainable_groups(task, recipe)  # refuses a part without a rate and a rate without a part
    trained = {part for part, rate in recipe.learning_rates.items() if rate > 0}
    assert all(task.parts()[part] for part in trained), "a part that is trained is not empty"
    in_groups = {id(parameter) for group in groups for parameter in group["params"]}
    assert in_groups == {id(p) for part in trained for p in task.parts()[part]}
    batch = task.collate([task.dataset[0]])
    if task.denominators(batch):
        assert (
            task.denominators(batch).keys()
            == task.denominators(task.collate([task.dataset[len(task.dataset) - 1]])).keys()
        )
    task.model.train()
    loss = task.model(**batch)["loss"]
    assert torch.isfinite(loss) and loss.requires_grad
