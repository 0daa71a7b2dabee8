"""Preference tuning: the better of two replies gains, at the rate that the loss says; what is no pair is refused."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data.manifest import check_record, read_manifest, write_manifest
from tests.train.short_recipes import LORA
from train.recipe import Recipe, RecipeError
from train.run import run_recipe
from train.task import build_task

RATES = {
    "language_model": 0, "lora": 5e-3, "added_rows": 5e-3, "input_projection": 0, "bind_network": 0,
    "gated_prompts": 0, "output_projections": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pairs(folder, count=12):
    """The better reply brings an image, the worse one words alone."""
    records = []
    for number in range(count):
        drawn = [{"type": "text", "text": "Here it is."}, {"type": "image", "caption": f"a bell {number}"}]
        messages = [{"role": "user", "content": f"draw bell {number}"}, {"role": "assistant", "content": drawn}]
        records.append({"messages": messages, "rejected": [{"type": "text", "text": "No."}]})
    folder.mkdir(exist_ok=True)
    write_manifest(folder / "manifest.jsonl", records)
    return folder / "manifest.jsonl"


def recipe_on(manifest, model, **changes):
    settings = {"data": [{"path": str(manifest), "held_out": 0.25}], "lora": LORA, "tokens_per_bin": 300}
    values = {"steps": 25, "batch_size": 1, "log_every": 5, "checkpoint_every": 25, "tracker": "none", "bf16": False}
    return Recipe(
        task="preference_tuning", learning_rates=RATES, model=str(model), task_settings=settings, **values | changes
    )


def test_the_better_reply_gains(tiny_copy, tmp_path):
    manifest = pairs(tmp_path / "pairs")
    figures = run_recipe(recipe_on(manifest, tiny_copy), tmp_path / "run")
    assert figures["gained"] == 1.0 and figures["loss"] < math.log(2) - 0.02
    again = build_task(recipe_on(manifest, tiny_copy))
    assert again.evaluate()["loss"] == pytest.approx(math.log(2), abs=1e-5), "it starts from what was exported"


def changed_by_resuming(recipe: Recipe, run: Path) -> list[str]:
    """Tensors of the core that end otherwise where a run of four steps loses its last checkpoint and is resumed."""
    run_recipe(recipe, run)
    whole = load_file(run / "core/model.safetensors")
    shutil.rmtree(run / "checkpoint-4")
    run_recipe(recipe, run, resume=True)
    again = load_file(run / "core/model.safetensors")
    return [name for name in whole if not torch.equal(whole[name], again[name])]


def test_a_resumed_run_ends_with_the_same_weights(tiny_copy, tmp_path):
    """Also where it has exported before, over the core that it started from."""
    recipe = recipe_on(pairs(tmp_path / "pairs"), tiny_copy, steps=4, checkpoint_every=2)
    assert changed_by_resuming(recipe, tmp_path / "run") == []


def test_the_loss_is_that_of_the_paper(tiny_copy, tmp_path):
    task = build_task(recipe_on(pairs(tmp_path / "pairs"), tiny_copy))
    batch = task.collate([task.dataset[0]])
    task.model.eval()
    assert task.model(**batch)["loss"].item() == pytest.approx(math.log(2), abs=1e-4)  # at the start no reply gained
    shifted = batch | {"reference": batch["reference"] - torch.tensor([1.0, 0.0])}
    expected = -math.log(1 / (1 + math.exp(-task.settings.beta)))
    assert task.model(**shifted)["loss"].item() == pytest.approx(expected, abs=1e-4)
    labelled = batch["better"]["labels"] != -100
    assert torch.equal(labelled.any(1), torch.ones(len(labelled), dtype=torch.bool))


def test_pairs_are_read_and_written(tmp_path):
    manifest = pairs(tmp_path / "pairs", 2)
    first, second = read_manifest(manifest)
    assert first["rejected"] == [{"type": "text", "text": "No."}] and second["rejected"] == first["rejected"]
    with pytest.raises(ValueError, match="which is not the assistant's"):
        check_record({"messages": [{"role": "user", "content": "x"}], "rejected": "y"}, None)


def test_a_record_without_a_worse_reply_is_counted(tiny_copy, tmp_path):
    manifest = pairs(tmp_path / "pairs")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines[:3]:
        del line["rejected"]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RecipeError, match=r"\d of 9 records have no key 'rejected'"):
        build_task(recipe_on(manifest, tiny_copy))
