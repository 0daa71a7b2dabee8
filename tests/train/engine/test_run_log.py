"""The log of a run, for whoever watches: what is in it after each kind of end; a resumed run goes on in it."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from data.run_files import RUN_LOCK, RUN_LOG, append_lines, is_running, lock_held, read_lines
from tests.train.engine.run_and_die import TURNS
from tests.train.short_recipes import stage
from train.recipe import NonFiniteLossError
from train.run import run_recipe


def log_of(folder):
    return list(read_lines(folder / RUN_LOG))


def test_a_whole_run_is_logged_with_its_replies(tiny_copy, tmp_path):
    recipe = stage("instruction_tuning", tiny_copy, evaluate_every=2)
    run_recipe(recipe, tmp_path / "run")
    log = log_of(tmp_path / "run")
    assert log[0]["start"] == json.loads(json.dumps({"recipe": recipe.written(), "steps": 4, "processes": 1}))
    figures = [(each["step"], each["figures"]) for each in log if "figures" in each]
    assert [step for step, each in figures if "loss" in each] == [2, 4]
    assert {"language", "samples_per_second", "peak_memory_gib"} <= figures[0][1].keys() | figures[1][1].keys()
    assert [step for step, each in figures if "validation_loss" in each] == [2, 4]
    replies = [(each["step"], each["replies"]) for each in log if "replies" in each]
    assert [step for step, _ in replies] == [2, 4]
    assert all(each.keys() == {"prompt", "reply", "expected"} and each["prompt"] for each in replies[0][1])
    assert log[-1]["end"] == "finished" and not (tmp_path / "run" / RUN_LOCK).exists()


def test_a_resumed_run_goes_on_in_its_log_and_another_begins_a_new_one(tmp_path):
    recipe = replace(TURNS, model=str(tmp_path / "model"))
    run_recipe(recipe, tmp_path / "run")
    run_recipe(recipe, tmp_path / "run", resume=True)
    assert [each["step"] for each in log_of(tmp_path / "run") if "start" in each] == [0, 11]
    run_recipe(recipe, tmp_path / "run", overwrite=True)
    assert [each["step"] for each in log_of(tmp_path / "run") if "start" in each] == [0]


def test_a_run_that_fails_says_why(tmp_path):
    recipe = replace(TURNS, model=str(tmp_path / "model"), learning_rates={"first": 1e30, "second": 1e30}, log_every=1)
    with pytest.raises(NonFiniteLossError):
        run_recipe(recipe, tmp_path / "run")
    last = log_of(tmp_path / "run")[-1]
    assert "the loss is not finite at step" in last["end"] and 0 < last["step"] < 11


def test_a_line_that_was_cut_is_left_out_and_the_next_one_is_whole(tmp_path):
    append_lines(tmp_path / RUN_LOG, [{"step": 1}])
    with (tmp_path / RUN_LOG).open("a") as file:
        file.write('{"step": 2, "fig')
    append_lines(tmp_path / RUN_LOG, [{"step": 3}])
    assert log_of(tmp_path) == [{"step": 1}, {"step": 3}]


HOLD = """import sys, pathlib
from data.run_files import lock_held
with lock_held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_says_whether_its_process_lives(tmp_path):
    assert not is_running(tmp_path)
    for end in (lambda process: process.kill(), lambda process: process.stdin.close()):
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"held\n" and is_running(tmp_path)
            end(process)
            process.wait()
        assert not is_running(tmp_path)
    with lock_held(tmp_path):  # the lock that the killed process has left is no hindrance
        pass
    assert not (tmp_path / RUN_LOCK).exists()
