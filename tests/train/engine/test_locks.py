"""Two runs in one folder, or on one component: the second is refused; a process that has died keeps no lock."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nextgpt_lite.cli import main
from tests.train.engine.run_and_die import TURNS, recipe_file
from train.engine.locks import component_locked, export_locked, run_locked
from train.recipe import RecipeError

ROOT = Path(__file__).parents[3]


@contextmanager
def another_process(expression):
    """One that holds a lock: ``expression`` of train.engine.locks."""
    code = f"""
import sys
from pathlib import Path
from train.engine.locks import *
with {expression}:
    print("held", flush=True)
    sys.stdin.read()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("lock", ["run_locked(Path('{run}'))", "component_locked(Path('{model}'), 'TurnsTask')"])
def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path, lock, capsys):
    run, model = tmp_path / "run", tmp_path / "model"
    file = recipe_file(replace(TURNS, steps=1, model=str(model)), tmp_path / "a.yaml")
    with another_process(lock.format(run=run, model=model)) as first:
        assert main(["train", str(file), "--out", str(run)]) == 2
        [sentence] = capsys.readouterr().err.strip().splitlines()
        assert "by another run at this moment: wait for its end" in sentence
        assert {path.suffix for path in (*run.glob("*"), *model.glob("*"))} == {".lock"}, "nothing was written"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert main(["train", str(file), "--out", str(run)]) == 0
    assert not list(tmp_path.rglob("*.lock"))


def test_another_component_of_the_model_may_be_trained(tmp_path):
    with another_process(f"component_locked(Path('{tmp_path}'), 'core')"):
        with component_locked(tmp_path, "image_decoder/vae"):
            pass
        refused = pytest.raises(RecipeError, match=r"core of the model .* is trained by another run")
        with refused, component_locked(tmp_path, "core"):
            pass


def test_an_export_waits_for_the_one_before_it(tmp_path):
    with another_process(f"export_locked(Path('{tmp_path}'))") as first:
        assert first.stdin is not None
        first.stdin.close()  # it gives the lock back a little later
        with export_locked(tmp_path):
            assert not (tmp_path / ".export.lock").samefile(ROOT)


def test_a_folder_that_was_made_for_a_lock_goes_with_it(tmp_path):
    with run_locked(tmp_path / "runs/first"):
        assert (tmp_path / "runs/first").is_dir()
    assert list(tmp_path.iterdir()) == []
    with run_locked(tmp_path / "runs/first"):
        (tmp_path / "runs/first/checkpoint-1").mkdir()
    assert [path.name for path in (tmp_path / "runs/first").iterdir()] == ["checkpoint-1"]
