"""Full tuning leaves the user's language model alone: what it makes is in the folder of the run, a model of its own."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from data.atomic import hash_folder
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import write_manifest
from tests.tiny_model import medium
from tests.train.short_recipes import stage
from train.recipe import RecipeError
from train.run import run_recipe
from train.task import build_task


def full(folder, **changes):
    recipe = stage("instruction_tuning", folder, steps=2, checkpoint_every=1, **changes)
    left_out = ("lora", "word_head", "language_model")
    rates = {name: rate for name, rate in recipe.learning_rates.items() if name not in left_out}
    settings = {"dialogues": 12, "tokens_per_bin": 500, "held_out": 2, "tuning": "full"}
    return replace(recipe, learning_rates=rates | {"language_model": 1e-2}, task_settings=settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_run_has_a_language_model_of_its_own_in_the_precision_of_the_base(dtype, tiny_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = tiny_copy / "language_model"
    AutoModelForCausalLM.from_pretrained(base, dtype=dtype).save_pretrained(base)
    write_manifest(tiny_copy, "tiny")
    before, run = hash_folder(tiny_copy), tmp_path / "run"
    figures = run_recipe(full(tiny_copy), run)
    assert hash_folder(tiny_copy) == before, "nothing in the user's folder has changed"
    tuned = load_file(run / "language_model/model.safetensors")
    assert {value.dtype for value in tuned.values()} == {dtype}
    assert json.loads((run / "language_model/config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    original = load_file(base / "model.safetensors")
    assert tuned.keys() == original.keys()
    assert (tuned["lm_head.weight"].float() - original["lm_head.weight"].float()).abs().max() > 5e-3
    reply = AnyToAny.from_pretrained(run).chat([{"role": "user", "content": [medium("image")]}], max_new_tokens=3)
    assert isinstance(reply.text, str)
    if dtype != torch.float16:
        return
    assert run_recipe(full(tiny_copy), run, resume=True) == figures, "a finished run is resumed on the base that it had"
    run_recipe(replace(full(run), task_settings=full(run).task_settings | {"start": "core"}), tmp_path / "next")
    assert json.loads((tmp_path / "next/manifest.json").read_text())["name"] == "tiny"


def test_the_folder_that_is_started_from_is_not_written_over(tiny_copy):
    task = build_task(full(tiny_copy))
    with pytest.raises(RecipeError, match="the run would write over the model that it starts from"):
        task.export_folder(tiny_copy / "../model")
