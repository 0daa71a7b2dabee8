"""Tuning presets, and batches that mix no dialogues with media and without."""

from pathlib import Path

import pytest

from train.dialogues.bins import BinnedRows
from train.engine.lora import TUNINGS, lora_settings
from train.recipe import RecipeError, read_recipe
from train.settings import read_settings
from train.stages.three_stages import InstructionTuningTask

RECIPES = Path(__file__).parents[3] / "train/recipes"


def test_alpha_is_twice_the_rank_unless_said():
    assert lora_settings({"r": 48, "lora_dropout": 0.1}) == {"r": 48, "lora_dropout": 0.1, "lora_alpha": 96}
    assert lora_settings({"r": 48, "lora_alpha": 16})["lora_alpha"] == 16


def test_an_unknown_tuning_is_refused():
    with pytest.raises(RecipeError, match="tuning must be one of lora, qlora, full, not 'dora'"):
        read_settings(InstructionTuningTask.Settings, {"tuning": "dora"}, "task")


@pytest.mark.parametrize("tuning", TUNINGS)
def test_the_recipes_have_the_studys_good_settings(tuning):
    recipe = read_recipe(RECIPES / f"papers/llava_{tuning}.yaml")
    assert recipe.task_settings["tuning"] == tuning
    rates = recipe.learning_rates
    if tuning == "full":
        assert "lora" not in rates and rates["language_model"] == 2e-5
    else:
        assert rates["lora"] == 1e-4 and rates["language_model"] == 0
        settings = lora_settings(recipe.task_settings["lora"])
        assert settings["lora_alpha"] == 2 * settings["r"]


def test_groups_share_no_bin():
    rows = [(list(range(1 + i % 7)), i % 3 == 0) for i in range(60)]
    mixed, apart = (
        BinnedRows(rows, 20, 0, group, lambda row: len(row[0])) for group in (lambda row: 0, lambda row: row[1])
    )
    assert any(len({group for _, group in item}) == 2 for item in mixed.bins)
    assert all(len({group for _, group in item}) == 1 for item in apart.bins)
    assert sorted(map(str, (row for item in apart.bins for row in item))) == sorted(map(str, rows))
    assert all(len(item) * max(len(ids) for ids, _ in item) <= 20 for item in apart.bins)
