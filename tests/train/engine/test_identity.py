"""A run is not resumed on other data or on another base; its checkpoints hold what is trained and nothing else."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from data.manifest import write_manifest
from nextgpt_lite.cli import main
from tests.train.engine.run_and_die import recipe_file
from tests.train.short_recipes import stage
from train.engine.checkpoints import checkpoints
from train.engine.identity import data_identity
from train.engine.trained_state import TrainedState
from train.recipe import RecipeError
from train.run import run_recipe


def record(number):
    question, answer = f"What is {number}?", f"It is {number}."
    return {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": question}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
    }


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    """A run of stage 1 on 30 records: folder, recipe."""
    folder = tmp_path_factory.mktemp("identity")
    shutil.copytree(tiny_folder, folder / "model")
    write_manifest(folder / "data.jsonl", map(record, range(30)))
    recipe = stage("encoding_alignment", folder / "model", steps=2, checkpoint_every=1)
    recipe = replace(recipe, task_settings=recipe.task_settings | {"data": [{"path": str(folder / "data.jsonl")}]})
    run_recipe(recipe, folder / "run")
    return folder, recipe


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it: recipe, and the folder that the model and the run are in."""
    folder, recipe = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return replace(recipe, model=str(tmp_path / "model")), tmp_path


def change(path):
    """Other weights of the same shape."""
    tensors = load_file(path)
    name = next(name for name, value in tensors.items() if value.is_floating_point() and value.numel() > 1)
    tensors[name] = tensors[name] + 0.01
    save_file(tensors, path, {"format": "pt"})


def test_other_data_are_refused_by_their_number(run, trained):
    recipe, folder = run
    data = trained[0] / "data.jsonl"
    lines = data.read_text().splitlines(keepends=True)
    try:
        data.write_text("".join(lines[:25]))
        with pytest.raises(RecipeError, match=r"trained on other data: .*data.jsonl \(was 30 rec.*, is 25 records"):
            run_recipe(recipe, folder / "run", resume=True)
        data.write_text("".join([*lines[:-1], lines[-1].replace("29.", "30.")]))
        with pytest.raises(RecipeError, match=r"was 30 records, sha256 \w+\), is 30 records|was 30 records"):
            run_recipe(recipe, folder / "run", resume=True)
    finally:
        data.write_text("".join(lines))


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("language_model/model.safetensors", "language_model"),
        ("encoder/model.safetensors", "encoder"),
        ("image_decoder/text_encoder/model.safetensors", "image decoder"),
    ],
)
def test_another_base_is_refused_by_name(run, file, named, capsys):
    recipe, folder = run
    change(folder / "model" / file)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    command = ["train", str(recipe_file(recipe, folder.parent / f"{folder.name}.yaml")), "--resume"]
    if named == "image decoder":  # of which stage 1 reads nothing
        assert main([*command, "--out", str(folder / "run")]) == 0
        return
    assert main([*command, "--out", str(folder / "run")]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"was trained on another base: {named} (was " in sentence and "--overwrite starts afresh" in sentence
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_decoders_that_are_read_belong_to_the_base(tiny_copy, tmp_path):
    recipe = stage("decoding_alignment", tiny_copy, steps=1, checkpoint_every=1)
    run_recipe(recipe, tmp_path / "run")
    change(tiny_copy / "image_decoder/text_encoder/model.safetensors")
    with pytest.raises(RecipeError, match=r"another base: image decoder \(was "):
        run_recipe(recipe, tmp_path / "run", resume=True)


def test_a_checkpoint_holds_what_is_trained(trained):
    folder, _ = trained
    [*_, last] = checkpoints(folder / "run")
    held = load_file(last / "model.safetensors")
    assert held and not [name for name in held if ".language_model." in name or ".output_projections." in name]
    known = json.loads((last / "recipe.json").read_text())
    assert {"language_model", "output_projections", "encoder", "tokenizer"} <= known["base"].keys()
    average = load_file(last / "ema.safetensors")
    assert average.keys() == held.keys()


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen, self.trained = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
        self.frozen.requires_grad_(False)
        self.copy = nn.Linear(2, 2, bias=False).requires_grad_(False)
        self.tied = self.trained.weight


def test_buffers_are_held_beside_trained_weights_and_where_they_change(tmp_path):
    model = Layers()
    state = TrainedState(model, stored=("copy.",))
    own = {"tied", "trained.bias", "copy.weight"}  # of tied weights one name
    own |= {f"trained.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert state.select(model.state_dict()).keys() == own
    model.frozen.running_mean += 1
    held = state.select(model.state_dict())
    assert held.keys() == own | {"frozen.running_mean"}
    save_file({name: value.contiguous() for name, value in held.items()}, tmp_path / "held.safetensors")
    other = Layers()
    state.load(other, tmp_path / "held.safetensors")
    assert torch.equal(other.frozen.running_mean, model.frozen.running_mean)
    assert torch.equal(other.copy.weight, model.copy.weight)
    save_file({"trained.weight": torch.zeros(2)}, tmp_path / "less.safetensors")
    with pytest.raises(RecipeError, match="does not fit this model: 5 tensors differ"):
        state.load(other, tmp_path / "less.safetensors")


def test_places_are_known_by_records_files_and_sizes(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n\n{}\n")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/1.tar").write_bytes(b"123")
    (tmp_path / "shards/index.json").write_text("{}")
    settings = {
        "data": [{"path": str(tmp_path / "a.jsonl")}, {"shards": str(tmp_path / "shards/*.tar")}],
        "embeddings": str(tmp_path / "shards"), "start": str(tmp_path), "kinds": ["describe"], "seed": 3,
    }  # fmt: skip
    before = data_identity(settings)
    assert [text.partition(",")[0] for text in before.values()] == [
        "2 records",
        "2 files of 5 bytes",
        "1 files of 3 bytes",
    ]
    (tmp_path / "shards/1.tar").write_bytes(b"321")
    assert data_identity(settings) == before, "media and archives are known by their sizes"
    (tmp_path / "shards/index.json").write_text("[]")
    assert data_identity(settings).keys() == before.keys() and data_identity(settings) != before
    assert data_identity({"data": str(tmp_path / "a.jsonl")}).keys() == {str(tmp_path / "a.jsonl")}
    assert data_identity({}) == {}
