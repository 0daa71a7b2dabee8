"""Evaluation while a run trains: it changes nothing, the best weights are exported, a run that gains nothing ends."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.train.short_recipes import stage
from train.engine.validation import Best
from train.recipe import Recipe, RecipeError
from train.run import run_recipe


def weights(folder):
    return load_file(folder / "core/model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_is_watched_computes_what_it_would_unwatched(tiny_copy, tmp_path):
    plain = stage("instruction_tuning", tiny_copy, ema=0.9)
    figures = run_recipe(plain, tmp_path / "plain")
    alone = weights(tiny_copy)
    watched = replace(plain, evaluate_every=1, log_every=2, tracker="tensorboard")
    assert run_recipe(watched, tmp_path / "watched") == figures
    assert same(weights(tiny_copy), alone)
    state = json.loads((tmp_path / "watched/checkpoint-4/trainer_state.json").read_text())
    seen = [entry["step"] for entry in state["log_history"] if "validation_loss" in entry]
    assert seen == [1, 2, 3, 4]
    before = json.loads((tmp_path / "plain/checkpoint-4/trainer_state.json").read_text())
    parts = [[entry["language"] for entry in each["log_history"] if "language" in entry] for each in (before, state)]
    assert parts[0] == parts[1]
    board = EventAccumulator(str(next((tmp_path / "watched").rglob("events*")).parent)).Reload()
    said = board.Tensors("replies/0/text_summary")
    assert [event.step for event in said] == [1, 2, 3, 4]
    assert b"**should say**" in said[-1].tensor_proto.string_val[0]


def test_the_best_weights_are_exported(tiny_copy, tmp_path):
    recipe = stage("instruction_tuning", tiny_copy, evaluate_every=1)
    rates = {part: rate * 300 for part, rate in recipe.learning_rates.items()}  # it gets worse and worse
    recipe = replace(recipe, learning_rates=rates, schedule="constant_with_warmup", warmup=0.0, best="least loss")
    figures = run_recipe(recipe, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    state = json.loads((tmp_path / "run/checkpoint-4/trainer_state.json").read_text())
    losses = {e["step"]: e["validation_loss"] for e in state["log_history"] if "validation_loss" in e}
    best = min(losses, key=losses.__getitem__)
    assert record["best"]["step"] == best and figures["loss"] == pytest.approx(losses[best], rel=1e-5)
    assert figures["loss"] < losses[4]


def test_a_run_that_gains_nothing_ends_and_has_ended(tiny_copy, tmp_path):
    recipe = stage("instruction_tuning", tiny_copy, steps=12, evaluate_every=1, best="greatest loss", patience=2)
    run_recipe(recipe, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    ended = record["best"]["step"] + 2
    assert ended < 12 and (tmp_path / f"run/checkpoint-{ended}").is_dir()
    alone = weights(tiny_copy)
    shutil.rmtree(tiny_copy / "core")
    run_recipe(recipe, tmp_path / "run", resume=True)
    assert (
        same(weights(tiny_copy), alone)
        and json.loads((tmp_path / "run/run.json").read_text())["best"] == record["best"]
    )


def test_what_is_the_best():
    found = Best()
    for step, figure in enumerate((3.0, 2.0, 2.0, 2.5), 1):
        found = found.after(step, figure, -1)
    assert found == Best(2, 2.0, 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"best": "loss", "evaluate_every": 2}, "expected least or greatest and a figure"),
        ({"best": "least loss"}, "needs evaluate_every"),
        ({"patience": 2, "evaluate_every": 2}, "needs best"),
    ],
)
def test_what_cannot_be_is_one_sentence(changes, sentence):
    with pytest.raises(RecipeError, match=sentence):
        Recipe(task="image_vae", steps=1, batch_size=1, learning_rates={}, **changes)


def test_a_figure_that_there_is_not_is_named(tiny_copy, tmp_path):
    recipe = stage("encoding_alignment", tiny_copy, steps=1, evaluate_every=1, best="least caption_smell")
    with pytest.raises(RecipeError, match=r"the task has no figure 'caption_smell': expected one of .*loss"):
        run_recipe(recipe, tmp_path / "run")
