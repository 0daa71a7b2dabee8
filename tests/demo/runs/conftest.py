"""Real short runs of the engine and of an evaluation, in one folder, and the pages that show them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tiny_folder, tmp_path_factory) -> Path:
    """A folder with three runs: "turns" of a small task, "tuned" of a stage that is watched, "own" an evaluation."""
    from data.toybox import write_toybox
    from nextgpt_lite.cli import main
    from tests.train.engine.run_and_die import TURNS
    from tests.train.short_recipes import stage
    from train.run import run_recipe

    folder = tmp_path_factory.mktemp("finished")
    run_recipe(replace(TURNS, model=str(folder / "model")), folder / "runs/turns")
    model = shutil.copytree(tiny_folder, folder / "tiny")
    run_recipe(stage("instruction_tuning", model, evaluate_every=2), folder / "runs/stages/tuned")
    manifest = write_toybox(folder / "toybox", 1, 5, ("image", "audio"))
    words = ["evaluate", "own_data", "--model", str(tiny_folder), "--data", str(manifest), "--count", "1"]
    assert main([*words, "--out", str(folder / "runs/own")]) == 0
    return folder / "runs"


@pytest.fixture
def runs(finished, tmp_path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "runs", symlinks=True))


@pytest.fixture
def visit():
    """Requests to the pages of the runs below some folders, behind the guard of the page: path -> response."""
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from demo.page.routes import HEADERS
    from demo.runs.pages import RunPages
    from demo.serving.guard import Guard

    def client(*roots: Path) -> TestClient:
        app = Guard(Starlette(routes=RunPages(roots).routes), headers=HEADERS)
        return TestClient(app, base_url="http://127.0.0.1:7860")

    return client
