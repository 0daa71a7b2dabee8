"""Builds: what their files may say, which runs count as done, in which order they start."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.parts import VARIABLE
from nextgpt_lite.packing import SHARED, pack_folder, unpacked_folder
from train import TASKS
from train import build as building
from train.build import RECIPES, read_build, train_all
from train.recipe import RecipeError
from train.settings import read_settings

BUILDS = Path(building.__file__).parent / "builds"


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "build.yaml"
        path.write_text(text)
        return read_build(path, tmp_path / "runs", tmp_path / "model")

    return write


def record(build, name, **changes):
    """The record of a finished run, as the engine writes it."""
    folder = build.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"recipe": build.recipe(name).written() | changes}))


@pytest.mark.parametrize("path", sorted(BUILDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_builds_are_whole(path, tmp_path):
    build = read_build(path, tmp_path / "runs", tmp_path / "model", Path("digits/train.jsonl"))
    for name in build.runs:
        recipe = build.recipe(name)
        own = build.runs[name].set.get("task_settings", {}).get("data")
        assert recipe.task_settings["data"] == (own or [{"path": "digits/train.jsonl"}])
        assert build.path(name).is_relative_to(RECIPES) and recipe.steps > 0


@pytest.mark.parametrize("path", sorted(BUILDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_settings_of_shipped_builds_fit_their_tasks(path, tmp_path):
    build = read_build(path, tmp_path / "runs", tmp_path / "model")
    for name in build.runs:
        recipe = build.recipe(name)
        module, _, task = TASKS[recipe.task].partition(":")
        read_settings(getattr(importlib.import_module(module), task).Settings, recipe.task_settings, name)


def test_nano_is_trained_by_the_recipes_as_they_stand():
    build = read_build(BUILDS / "nano.yaml", Path("runs"), Path("runs/nano"))
    models = {name: build.recipe(name).model for name in build.runs}
    assert {name for name, model in models.items() if model != "runs/nano"} == {
        "oracle_image", "oracle_audio", "oracle_video",
    }  # fmt: skip
    assert all("data" not in build.recipe(name).task_settings for name in build.runs)


def test_changes_reach_into_a_recipe(written):
    build = written("runs:\n  again: {recipe: vocoder, set: {steps: 7, task_settings: {pool: 9, kernels: [3]}}}\n")
    recipe, plain = build.recipe("again"), building.read_recipe(RECIPES / "foundations/vocoder.yaml")
    assert (recipe.steps, recipe.task_settings) == (7, plain.task_settings | {"pool": 9, "kernels": [3]})
    assert recipe.learning_rates == plain.learning_rates and recipe.model == str(build.model)


def test_a_run_of_this_recipe_is_done(written):
    build = written("runs: {vocoder: {}, audio_vae: {}}")
    record(build, "vocoder")
    assert build.finished("vocoder") and not build.finished("audio_vae")


def test_a_run_of_another_recipe_is_not(written):
    build = written("runs: {vocoder: {}}")
    record(build, "vocoder", steps=build.recipe("vocoder").steps + 1)
    assert not build.finished("vocoder")


def test_a_key_that_came_after_the_run_does_not_undo_it(written):
    build = written("runs: {vocoder: {}}")
    record(build, "vocoder")
    path = build.folder / "vocoder/run.json"
    values = json.loads(path.read_text())
    del values["recipe"]["lora_b_ratio"]
    path.write_text(json.dumps(values))
    assert build.finished("vocoder")


def test_what_is_done_is_not_run_again(written):
    build = written("runs: {vocoder: {}, audio_vae: {after: [vocoder]}}")
    for name in build.runs:
        record(build, name)
    assert train_all(build, list(build.runs), jobs=2) == []
    assert not list(build.folder.glob("*.log"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: {vocodr: {}}", "no recipe at"),
        ("runs: {vocoder: {after: [audio_va]}, audio_vae: {}}", "did you mean 'audio_vae'?"),
        ("runs: {vocoder: {sets: {}}}", "unknown key 'sets'"),
        ("runs: {vocoder: {after: [audio_vae]}, audio_vae: {after: [vocoder]}}", "wait for each other"),
        ("runs: {vocoder: {set: {stps: 3}}}", "unknown key 'stps': did you mean 'steps'?"),
        ("recipes: {}", "unknown key 'recipes'"),
        ("cache: {prototypes: 3, blend: 0.1}", "missing key 'runs'"),
        ("runs: {vocoder: {after: audio_vae}}", "after must be a list, each item text, not 'audio_vae'"),
        (
            "runs: {vocoder: {}}\ncache: {prototypes: 3, blend: 2}",
            "blend must be a number, at least 0 and at most 1, not 2",
        ),
        ("runs: {}\nrunes: {}", "unknown key 'runes'"),
        ("runs: [", "expected the node content"),
    ],
)
def test_refusals(written, text, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        written(text)


def test_the_command_refuses_in_a_sentence(tmp_path, capsys):
    path = tmp_path / "build.yaml"
    path.write_text("runs: {vocoder: {}}")
    assert building.main([str(path), "--data", str(tmp_path / "gone.jsonl")]) == 2
    assert "there is no manifest" in capsys.readouterr().err
    assert building.main([str(path), "--out", str(tmp_path / "out"), "--only", "vocodr"]) == 2
    assert "did you mean 'vocoder'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_decoders_that_hold_the_same_network_share_it(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    images, videos = tmp_path / "image_decoder", tmp_path / "video_decoder"
    for folder in (images / "unet", images / "vae", videos / "unet", videos / "vae", videos / "layout"):
        folder.mkdir(parents=True)
        weights = torch.full((64, 64), 2.0 if folder.parent == videos and folder.name == "vae" else 1.0)
        save_file({"w": weights}, folder / "model.safetensors", {"format": "pt"})
    (images / "layout").mkdir()
    for folder in (images, videos):
        (folder / "layout" / "pictures.webp").write_bytes(b"the same pictures")
        (folder / "layout" / "config.json").write_text("{}")  # too small to be worth it
    building.share(videos, images)
    assert sorted(path.name for path in videos.iterdir()) == ["layout", SHARED, "vae"]
    assert sorted(path.name for path in (videos / "layout").iterdir()) == ["config.json", "model.safetensors"]
    pack_folder(videos)
    whole = unpacked_folder(videos, "1" * 64)
    assert (load_file(whole / "unet" / "model.safetensors")["w"] == 1).all()
    assert (load_file(whole / "vae" / "model.safetensors")["w"] == 2).all()
    assert (whole / "layout" / "pictures.webp").read_bytes() == b"the same pictures"
