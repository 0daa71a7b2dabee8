"""Which runs of the embedded model's recipes count as done."""

import json

import pytest

from train import nano
from train.recipe import read_recipe


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The record of a finished run, as the engine writes it."""
    monkeypatch.setattr(nano, "RUNS", tmp_path)
    path = tmp_path / "vocoder/run.json"
    path.parent.mkdir()
    recipe = read_recipe(nano.RECIPES / "vocoder.yaml")
    path.write_text(json.dumps({"recipe": recipe.__dict__}))
    return path


def test_a_run_of_this_recipe_is_done(record):
    assert nano.finished("vocoder")
    assert not nano.finished("image_vae")


def test_a_run_of_another_recipe_is_not(record):
    values = json.loads(record.read_text())
    values["recipe"]["steps"] += 1
    record.write_text(json.dumps(values))
    assert not nano.finished("vocoder")


def test_a_key_that_came_after_the_run_does_not_undo_it(record):
    values = json.loads(record.read_text())
    del values["recipe"]["lora_b_ratio"]
    record.write_text(json.dumps(values))
    assert nano.finished("vocoder")
