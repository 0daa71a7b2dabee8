"""A run that is killed at any moment, or whose disk fills up, is resumed to the very run that was never stopped."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.train.short_recipes import FILES, PICTURE
from train.engine.checkpoints import Belonging, DiskError, checkpoints, disk_errors
from train.recipe import RecipeError
from train.run import run_recipe

ROOT = Path(__file__).parents[3]
KILLED = ("die_half_written", "die_before_rename", "die_before_removal", "die_while_removing")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What every damaged run left, and what it came to when it was resumed."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "tests.train.engine.run_and_die", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "results.json").read_text()) | {"stderr": done.stderr}


@pytest.mark.parametrize("moment", KILLED)
def test_a_run_killed_at_a_moment_is_resumed_bit_for_bit(runs, moment):
    damaged, whole = runs[moment], runs["whole_turns"]
    assert os.WIFSIGNALED(damaged["status"]) and os.WTERMSIG(damaged["status"]) == signal.SIGKILL
    complete = {name: files for name, files in damaged["left"].items() if name.startswith("checkpoint-")}
    assert complete and all(set(files) == FILES for files in complete.values())
    assert damaged["left"].keys() != complete.keys() or moment == "die_before_removal", "something was cut off"
    assert damaged["curve"] == whole["curve"]
    assert damaged["weights"] == whole["weights"]
    assert damaged["names"] == whole["names"], "what was cut off is cleared"


@pytest.mark.parametrize("kind", ["lines", "skipped_lines"])
def test_a_stream_is_taken_up_where_it_was_left(runs, kind):
    damaged, whole = runs[kind], runs[f"whole_{kind}"]
    assert os.WTERMSIG(damaged["status"]) == signal.SIGKILL
    stored = {"stream.json"} if kind == "lines" else set()
    assert set(damaged["left"]["checkpoint-3"]) == FILES | stored
    assert damaged["curve"] == whole["curve"]
    assert damaged["weights"] == whole["weights"]


@pytest.mark.parametrize(("name", "code"), [("sigterm", 143), ("sigint", 130)])
def test_a_signal_leaves_a_checkpoint_of_its_step_and_a_sentence(runs, name, code):
    ended, whole = runs[name], runs["whole_turns"]
    assert os.WEXITSTATUS(ended["status"]) == code
    complete = {folder for folder in ended["left"] if folder.startswith("checkpoint-")}
    assert complete == {"checkpoint-3", "checkpoint-5"}
    [said] = [line for line in runs["stderr"].splitlines() if f"/{name} has a checkpoint" in line]
    assert f"ended by {name.upper()} after step 5, of which" in said and "--resume goes on there" in said
    assert ended["curve"] == whole["curve"]
    assert ended["weights"] == whole["weights"]


def test_a_second_signal_ends_a_run_at_once(runs):
    ended = runs["twice"]
    assert os.WIFSIGNALED(ended["status"]) and os.WTERMSIG(ended["status"]) == signal.SIGTERM
    assert {folder for folder in ended["left"] if folder.startswith("checkpoint-")} == {"checkpoint-3"}
    assert ended["weights"] == runs["whole_turns"]["weights"]


@pytest.mark.parametrize(("name", "code", "left"), [("building", 143, set()), ("exporting", 130, {"9", "11"})])
def test_a_signal_before_and_after_training_ends_the_run_as_it_is(runs, name, code, left):
    ended = runs[name]
    assert os.WEXITSTATUS(ended["status"]) == code
    assert ended["left"].keys() == {f"checkpoint-{step}" for step in left}
    assert ended["weights"] == runs["whole_turns"]["weights"]


def test_a_disk_that_is_full_leaves_the_last_checkpoint(runs):
    damaged, whole = runs["limit"], runs["whole_turns"]
    assert os.WEXITSTATUS(damaged["status"]) == 2
    assert damaged["left"].keys() == {"checkpoint-3"}
    [said] = [line for line in runs["stderr"].splitlines() if "/limit has" in line]
    assert "the checkpoint of step 6 cannot be written" in said and "MiB free" in said
    assert damaged["weights"] == whole["weights"]


def test_a_small_disk_that_fills_up_leaves_the_last_checkpoint(runs):
    damaged = runs["disk"]
    if damaged is None:
        pytest.skip("no disk can be mounted here")
    assert os.WEXITSTATUS(damaged["status"]) == 2
    assert damaged["left"] and all(name.startswith("checkpoint-") for name in damaged["left"])
    [said] = [line for line in runs["stderr"].splitlines() if "disk/run has" in line]
    assert "cannot be written: the disk is full" in said
    assert damaged["weights"] == runs["whole_turns"]["weights"]


def test_the_curve_has_every_logged_step(runs):
    assert [entry["step"] for entry in runs["whole_turns"]["curve"] if "loss" in entry] == [2, 4, 6, 8, 10]


def written(folder):
    """Every file with the time at which it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def checkpoint(tmp_path):
    Belonging(PICTURE).write(tmp_path)
    return tmp_path


def test_another_recipe_is_refused_by_its_keys(checkpoint):
    other = replace(PICTURE, steps=9, learning_rates=PICTURE.learning_rates | {"decoder": 0.5})
    with pytest.raises(RecipeError, match=r"learning_rates.decoder \(was 0.01, is 0.5\), steps \(was 3, is 9\)"):
        Belonging(other).check(checkpoint)
    with pytest.raises(RecipeError, match=r"gradient_accumulation_steps x processes \(was 1, is 2\)"):
        Belonging(PICTURE, 2).check(checkpoint)
    (checkpoint / "recipe.json").unlink()
    with pytest.raises(RecipeError, match="does not say which recipe it belongs to"):
        Belonging(PICTURE).check(checkpoint)


def test_what_does_not_change_the_result_may_differ(checkpoint):
    Belonging(replace(PICTURE, threads=2, log_every=7, model="elsewhere")).check(checkpoint)
    Belonging(replace(PICTURE, gradient_accumulation_steps=4), 2).write(checkpoint)
    Belonging(replace(PICTURE, gradient_accumulation_steps=2), 4).check(checkpoint)


def test_a_run_is_not_resumed_by_another_recipe(tmp_path):
    recipe = replace(PICTURE, model=str(tmp_path / "model"), checkpoint_every=1)
    run_recipe(recipe, tmp_path / "run")
    before = written(tmp_path)
    with pytest.raises(RecipeError, match=r"seed \(was 0, is 1\)"):
        run_recipe(replace(recipe, seed=1), tmp_path / "run", resume=True)
    assert written(tmp_path) == before
    assert asdict(recipe)["seed"] == 0 and len(checkpoints(tmp_path / "run")) == 2


def test_only_writes_become_disk_errors(tmp_path):
    with (
        pytest.raises(DiskError, match=r"the component cannot be written: .*No space"),
        disk_errors("the component", tmp_path),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(DiskError, match="the part cannot"), disk_errors("the part", tmp_path):
        raise RuntimeError("basic_ios::clear: iostream error")
    with pytest.raises(RuntimeError, match="shapes"), disk_errors("the component", tmp_path):
        raise RuntimeError("shapes do not fit")
