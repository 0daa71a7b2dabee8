"""A checkpoint with any damaged file is not taken: the one before it is, or the run is refused by name."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from nextgpt_lite.cli import main
from tests.train.engine.run_and_die import TURNS, recipe_file
from tests.train.short_recipes import FILES, PICTURE
from train.engine.checkpoints import checkpoints
from train.engine.integrity import damage_of, newest_whole
from train.recipe import RecipeError
from train.run import run_recipe

NEWEST, OLDER = "checkpoint-4", "checkpoint-3"


def halved(file, older):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def missing(file, older):
    file.unlink()


def swapped(file, older):
    """Each has the other's place."""
    content = file.read_bytes()
    shutil.copy(older, file)
    older.write_bytes(content)


def replaced(file, older):
    shutil.copy(older, file)


def flipped(file, older):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = (halved, missing, replaced, flipped)


def trained(folder, recipe):
    """A run of four steps, with a checkpoint after each."""
    recipe = replace(recipe, steps=4, checkpoint_every=1, ema=0.5, model=str(folder / "model"))
    figures = run_recipe(recipe, folder / "run")
    return recipe, figures


def weights(folder):
    """What was exported: all files with their content."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """A run on a stream, whose checkpoints have every kind of file; its recipe, its folder."""
    folder = tmp_path_factory.mktemp("stream")
    generator = torch.Generator().manual_seed(0)
    rows = [json.dumps({"x": torch.randn(6, generator=generator).tolist(), "y": i / 9}) for i in range(9)]
    (folder / "lines.jsonl").write_text("\n".join(rows))
    settings = {"files": [str(folder / "lines.jsonl")], "state": True}
    return trained(folder, replace(TURNS, task="lines", task_settings=settings))[0], folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("picture")
    return trained(folder, PICTURE)[0], folder


def assert_the_older_one_is_taken(run, copy, file, damage, caplog):
    recipe, folder = run
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    (copy / "run/run.json").unlink()
    damage(copy / "run" / NEWEST / file, copy / "run" / OLDER / file)
    run_recipe(replace(recipe, model=str(copy / "model")), copy / "run", resume=True)
    record = json.loads((copy / "run/run.json").read_text())
    [refused] = record["resumed"]["refused"]
    assert record["resumed"]["from"] == OLDER
    assert refused.startswith(f"{NEWEST} is damaged: ") and (file in refused or file == "hashes.json")
    assert f"{refused}: the run goes on from {OLDER}" in caplog.text
    assert weights(copy / "model") == weights(folder / "model")
    assert [damage_of(checkpoint) for checkpoint in checkpoints(copy / "run")] == ["", ""]


#: Every file with every damage, but the one that changes nothing: a run has one recipe.
CASES = [(file, damage) for file in sorted(FILES | {"stream.json"}) for damage in DAMAGES]
CASES.remove(("recipe.json", replaced))


@pytest.mark.parametrize(("file", "damage"), CASES)
def test_every_damage_of_every_file_is_found(stream, tmp_path, file, damage):
    _, folder = stream
    shutil.copytree(folder / "run", tmp_path / "run")
    damage(tmp_path / "run" / NEWEST / file, tmp_path / "run" / OLDER / file)
    found = newest_whole(tmp_path / "run")
    assert found.checkpoint == tmp_path / "run" / OLDER
    [refused] = found.refused
    assert refused.startswith(f"{NEWEST} is damaged: ") and (file in refused or file == "hashes.json")


@pytest.mark.parametrize(("file", "damage"), CASES[:: len(DAMAGES) + 3])
def test_a_run_with_a_damaged_file_goes_on_from_the_older_checkpoint(stream, tmp_path, file, damage, caplog):
    assert_the_older_one_is_taken(stream, tmp_path, file, damage, caplog)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "damage"), [case for case in CASES if case[0] in FILES])
def test_a_real_run_goes_on_from_the_older_checkpoint(picture, tmp_path, file, damage, caplog):
    assert_the_older_one_is_taken(picture, tmp_path, file, damage, caplog)


@pytest.mark.parametrize("file", ["hashes.json", "optimizer.pt"])
def test_where_none_is_whole_the_run_is_refused_and_nothing_is_removed(stream, tmp_path, file, capsys):
    recipe, folder = stream
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    swapped(tmp_path / "run" / NEWEST / file, tmp_path / "run" / OLDER / file)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    command = ["train", str(recipe_file(recipe, tmp_path / "recipe.yaml")), "--out", str(tmp_path / "run"), "--resume"]
    assert main(command) == 2
    [sentence] = capsys.readouterr().err.strip().splitlines()
    assert "has no whole checkpoint to resume from: checkpoint-4 is damaged: " in sentence
    assert "; checkpoint-3 is damaged: " in sentence
    (tmp_path / "recipe.yaml").unlink()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_whole_older_checkpoint_under_a_newer_name_is_not_taken(stream, tmp_path):
    recipe, folder = stream
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "run" / NEWEST)
    (tmp_path / "run" / OLDER).rename(tmp_path / "run" / NEWEST)
    with pytest.raises(RecipeError, match=r"checkpoint-4 is damaged: hashes.json is that of step 3"):
        run_recipe(recipe, tmp_path / "run", resume=True)


def test_one_of_the_former_format_is_resumed(picture, tmp_path):
    """Without hashes, with the whole model, without a word on data and base."""
    from safetensors.torch import save_model

    from train.engine.trained_state import TrainedState
    from train.engine.trainer import TaskTrainer
    from train.task import build_task

    recipe, folder = picture
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "run" / NEWEST)
    older = tmp_path / "run" / OLDER
    torch.manual_seed(recipe.seed)
    task = build_task(recipe)
    TaskTrainer(task, recipe, tmp_path / "none")
    TrainedState(task.model).load(task.model, older / "model.safetensors")
    save_model(task.model, str(older / "model.safetensors"))
    (older / "hashes.json").unlink()
    record = json.loads((older / "recipe.json").read_text())
    (older / "recipe.json").write_text(json.dumps({key: record[key] for key in ("recipe", "processes")}))
    run_recipe(replace(recipe, model=str(tmp_path / "model")), tmp_path / "run", resume=True)
    assert weights(tmp_path / "model") == weights(folder / "model")
    shutil.rmtree(tmp_path / "run" / NEWEST)
    (older / "optimizer.pt").unlink()
    with pytest.raises(RecipeError, match="checkpoint-3 is damaged: the optimiser is missing"):
        run_recipe(recipe, tmp_path / "run", resume=True)
