"""The encoder is trained with the core, whole or by LoRA: what it becomes is in the folder of the run."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from data.atomic import hash_folder
from encoders import load_encoder
from nextgpt_lite import AnyToAny
from tests.tiny_model import medium
from tests.train.short_recipes import stage
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError
from train.run import run_recipe
from train.task import build_task


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def tuned(folder, how, rate=1e-2, features="pooled", **changes):
    recipe = stage("encoding_alignment", folder, **changes)
    settings = recipe.task_settings | {"tune_encoder": how, "encoder_lora": {"r": 2}, "input_features": features}
    if features == "patches":
        settings |= {"input_projection_settings": {}}
    return replace(recipe, learning_rates=recipe.learning_rates | {"encoder": rate}, task_settings=settings)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_the_run_has_an_encoder_of_its_own(how, tiny_copy, tmp_path):
    before, run = hash_folder(tiny_copy), tmp_path / "run"
    figures = run_recipe(tuned(tiny_copy, how), run)
    assert hash_folder(tiny_copy) == before, "nothing in the user's folder has changed"
    old, new = (load_file(folder / "encoder/model.safetensors") for folder in (tiny_copy, run))
    assert old.keys() == new.keys() and {name for name in old if not torch.equal(old[name], new[name])}
    said = [{"role": "user", "content": [medium("image"), medium("audio")]}]
    assert isinstance(AnyToAny.from_pretrained(run).chat(said, max_new_tokens=3).text, str)
    shutil.rmtree(run / "checkpoint-4")
    assert run_recipe(tuned(tiny_copy, how), run, resume=True) == figures
    again = load_file(run / "encoder/model.safetensors")
    assert [name for name in new if not torch.equal(new[name], again[name])] == []


@pytest.mark.parametrize("features", ["pooled", "patches"])
@pytest.mark.parametrize("how", ["full", "lora"])
def test_what_is_trained_is_what_is_written(how, features, tiny_copy, tmp_path):
    recipe = tuned(tiny_copy, how, features=features)
    task = build_task(recipe)
    TaskTrainer(task, recipe, tmp_path / "run").train()
    task.export(tmp_path / "made")
    written, rows = load_encoder(tmp_path / "made/encoder"), [row for bin in task.dataset.bins for row in bin][:6]
    batch = task.finish(task.collate([rows]))
    trained, places = task.model.eval().media(batch), batch["shown_at_image"].tolist()
    embed = written.patches if features == "patches" else written.embed
    for (row, place), expected in zip(places, embed("image", batch["shown_image"]), strict=True):
        found = trained["media_embeddings"][row, place]
        found = found[: len(expected)] if features == "patches" else found
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("features", ["pooled", "patches"])
def test_an_encoder_that_has_not_moved_gives_what_a_frozen_one_gives(features, tiny_copy):
    recipe = tuned(tiny_copy, "lora", features=features)
    frozen = replace(recipe, task_settings=recipe.task_settings | {"tune_encoder": ""})
    losses = []
    for one in (recipe, frozen):
        torch.manual_seed(0)
        task = build_task(one)
        batches = [task.finish(task.collate([each])) for each in task.dataset.bins]
        losses.append([task.model.eval()(**batch)["loss"].detach().item() for batch in batches])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_gradients_reach_the_encoder_through_the_language_model(how, tiny_copy):
    task = build_task(tuned(tiny_copy, how))
    trained = task.parts()["encoder"]
    for parameter in trained:
        parameter.requires_grad_(True)
    task.model(**task.finish(task.collate([task.dataset[0]])))["loss"].backward()
    assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in trained)


def test_embeddings_that_are_made_before_are_refused(tiny_copy, tmp_path):
    recipe = tuned(tiny_copy, "full")
    settings = recipe.task_settings | {"embeddings": str(tmp_path)}
    with pytest.raises(RecipeError, match="embeddings must be 'steps' where tune_encoder is set, not"):
        build_task(replace(recipe, task_settings=settings))
    with pytest.raises(RecipeError, match="the run would write over the model"):
        build_task(recipe).export_folder(tiny_copy)
