"""LLaVA's projector on CLIP's tower in the place of the encoder."""

import shutil
from dataclasses import replace

import pytest

from encoders.open_clip import OpenClipConfig, OpenClipVision
from tests.train.short_recipes import RECIPES
from train.recipe import RecipeError, read_recipe
from train.task import build_task

SHORT = ["batch_size=1", "task_settings.dialogues=20", "task_settings.held_out=3", "task_settings.image_size=24"]


@pytest.fixture
def recipe(tiny_copy):
    shutil.rmtree(tiny_copy / "encoder")
    sizes = {"size": 16, "patch": 8, "width": 16, "layers": 1, "heads": 2, "output_width": 12}
    OpenClipVision(OpenClipConfig(**sizes)).save_pretrained(tiny_copy / "encoder")
    return read_recipe(RECIPES / "papers/llava_projector.yaml", [f"model={tiny_copy}", *SHORT])


def test_a_projector_is_trained_on_the_tokens_of_the_tower(recipe):
    task = build_task(recipe)
    batch = task.collate([task.dataset[0]])
    assert batch["media_embeddings"].shape[2:] == (10, 12)  # a class token and 3 x 3 patches
    task.model(**batch)["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.parts()["input_projection"])
    assert task.model.core.config.table.shown == ("image",)


def test_a_size_that_does_not_fit_is_a_sentence(recipe):
    wrong = replace(recipe, task_settings=recipe.task_settings | {"image_size": 30})
    with pytest.raises(RecipeError, match="size 30 must be a multiple of patch 8"):
        build_task(wrong)
