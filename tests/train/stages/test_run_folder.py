"""A composed model is trained on a table of pictures, and the folder of each run is a model of its own."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import model_hash, read_manifest, resolve_model
from nextgpt_lite.compose.composition import read_composition
from nextgpt_lite.compose.folder import compose
from tests.tiny_transformers import PATCH, SIZE, save_clip, save_qwen3
from tests.tiny_xl import build_tiny_xl
from train.own_folder import share_components
from train.recipe import RECIPES, Recipe, read_recipe
from train.run import run_recipe
from train.settings import RecipeError

SHORT = ("steps=1", "log_every=1", "bf16=false", "tracker=none")
IMAGE = np.full((40, 50, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A composed model, and a table of six pictures."""
    folder = tmp_path_factory.mktemp("own")
    save_qwen3(folder / "qwen3")
    save_clip(folder / "clip")
    build_tiny_xl().save_pretrained(folder / "sdxl")
    words = (f"language_model={folder / 'qwen3'}", f"encoder={folder / 'clip'}", f"image_decoder={folder / 'sdxl'}")
    llava = ("encoder.settings.layer=-2", "encoder.settings.class_token=false")
    compose(read_composition([*words, *llava]), folder / "model")
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = [(f"{n}.png", f"a bell, number {n}") for n in range(6)]
        csv.writer(file).writerows([("image", "text"), *rows])
    for name, _ in rows:
        Image.fromarray(IMAGE).save(folder / name)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def recipe(place, *changes: str) -> Recipe:
    words = (f"model={place / 'model'}", f"task_settings.data={place / 'captions.csv'}")
    return read_recipe(RECIPES / "projector.yaml", [*SHORT, *words, *changes])


def ask(folder) -> str:
    part = {"type": "image", "array": IMAGE}
    reply = AnyToAny.from_pretrained(folder, device="cpu").chat(
        [{"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}], max_new_tokens=4
    )
    return reply.text


def test_a_run_is_a_model_that_answers(place, tmp_path):
    figures = run_recipe(recipe(place), tmp_path / "run")
    assert figures["loss"] > 0
    assert resolve_model(tmp_path / "run") == tmp_path / "run"
    model = AnyToAny.from_pretrained(tmp_path / "run")
    config = model.core.config
    assert config.input_tokens == {"image": (SIZE // PATCH) ** 2}  # the class token is left out
    assert {name: tuple(shape) for name, shape in config.conditions.items()} == {
        "image": tuple(model.decoders["image"].condition_shape)
    }
    assert config.signal_tokens == {"image": 8}
    assert isinstance(ask(tmp_path / "run"), str)


def test_two_runs_on_one_model_and_a_stage_that_goes_on(place, tmp_path):
    for name, rate in (("first", 1e-3), ("second", 1e-2)):
        run_recipe(recipe(place, f"learning_rates.input_projection={rate}"), tmp_path / name)
    hashes = {name: model_hash(read_manifest(tmp_path / name)) for name in ("first", "second")}
    assert hashes["first"] != hashes["second"]
    for name in hashes:
        ask(tmp_path / name)
    tuned = replace(
        read_recipe(RECIPES / "papers/llava_lora.yaml", [*SHORT, f"model={tmp_path / 'first'}"]),
        task_settings={"start": "core_encoding", "data": str(place / "captions.csv"), "lora": {"r": 2}},
    )
    run_recipe(tuned, tmp_path / "tuned")
    assert AnyToAny.from_pretrained(tmp_path / "tuned").core.config.lora["r"] == 2


def test_without_decoders_nothing_but_words_is_answered(place, tmp_path):
    words = (f"language_model={place / 'qwen3'}", f"encoder={place / 'clip'}")
    compose(read_composition(words), tmp_path / "words")
    run_recipe(recipe(place, f"model={tmp_path / 'words'}"), tmp_path / "run")
    core = AnyToAny.from_pretrained(tmp_path / "run").core
    assert core.config.signal_tokens == {} and core.config.conditions == {}
    ask(tmp_path / "run")


def test_links_are_those_of_the_last_run(place, tmp_path):
    words = (f"language_model={place / 'qwen3'}", f"encoder={place / 'clip'}")
    compose(read_composition(words), tmp_path / "words")
    (tmp_path / "run/tokenizer").mkdir(parents=True)  # the run's own
    for model in (place / "model", tmp_path / "words"):
        share_components(model, tmp_path / "run", "core")
    linked = {path.name: path.resolve() for path in (tmp_path / "run").iterdir() if path.is_symlink()}
    assert linked == {name: tmp_path / "words" / name for name in ("language_model", "encoder")}
    share_components(tmp_path / "run", tmp_path / "run", "core")
    assert (tmp_path / "run/encoder/config.json").is_file()


def test_a_missing_picture_is_named_or_left_out(place, tmp_path):
    table = place / "worse.csv"
    table.write_text((place / "captions.csv").read_text() + "gone.png,nothing\n")
    worse = (f"task_settings.data={table}",)
    with pytest.raises(RecipeError, match=r"worse\.csv, line 8: there is no file 'gone\.png'"):
        run_recipe(recipe(place, *worse), tmp_path / "refused")
    assert not (tmp_path / "refused/manifest.json").exists()
    run_recipe(recipe(place, *worse, "task_settings.bad_records=skip", "task_settings.bad_limit=0.2"), tmp_path / "run")
    assert "gone.png" in (tmp_path / "run/rejected.jsonl").read_text()
