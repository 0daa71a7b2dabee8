"""Epochs: steps from epochs and back, and what a run says of its data before it begins."""

import json
from dataclasses import replace

import pytest
from torch.utils.data import ConcatDataset, IterableDataset

from nextgpt_lite.cli import main
from tests.train.short_recipes import PICTURE, stage
from train.dialogues.bins import BinnedRows
from train.dry_run import dry_run
from train.engine.checkpoints import checkpoints
from train.engine.epochs import Epoch, describe, steps_of
from train.recipe import RecipeError, read_recipe
from train.run import run_recipe


def bins(records, tokens):
    return BinnedRows([[0] * 10] * records, tokens, seed=1)


@pytest.mark.parametrize(
    ("dataset", "per_step", "steps", "sentence"),
    [
        (
            bins(285, 42_000),
            4,
            20,
            "an epoch is 285 records in 1 bin, 0.25 steps of 4 bins; this run: 20 steps, 80 epochs",
        ),
        (bins(6, 20), 1, 3, "an epoch is 6 records in 3 bins, 3 steps of 1 bin; this run: 3 steps, 1 epoch"),
        (
            ConcatDataset([bins(6, 20), bins(4, 20)]),
            2,
            1,
            "in 5 bins, 2.5 steps of 2 bins; this run: 1 step, 0.4 ep",
        ),
        (range(1200), 2, 1200, "an epoch is 1,200 samples, 600 steps of 2 samples; this run: 1,200 steps, 2 epochs"),
    ],
)
def test_a_run_says_what_an_epoch_is(dataset, per_step, steps, sentence):
    epoch = Epoch.of(dataset, per_step)
    assert sentence in describe(epoch, steps)
    passes = steps * per_step / len(dataset)
    assert steps_of(replace(PICTURE, steps=0, epochs=passes), epoch) == steps


def test_epochs_are_whole_steps_that_see_everything():
    epoch = Epoch.of(range(10), 4)
    for epochs, steps in ((0.01, 1), (0.4, 1), (0.41, 2), (1, 3), (2, 5), (2.01, 6)):
        assert steps_of(replace(PICTURE, steps=0, epochs=epochs), epoch) == steps
    assert steps_of(PICTURE, epoch) == PICTURE.steps


def test_a_stream_has_no_epochs():
    class Endless(IterableDataset):
        def __iter__(self):
            yield from ()

    epoch = Epoch.of(Endless(), 4)
    assert describe(epoch, 20) == "this run: 20 steps on a stream, which has no epochs"
    with pytest.raises(RecipeError, match=r"epochs is 2, and the data are a stream, which has no end: expected steps"):
        steps_of(replace(PICTURE, steps=0, epochs=2.0), epoch)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("steps: 3\nepochs: 1", "steps and epochs are both given: expected one"),
        ("batch_size: 1", "missing key 'steps', or 'epochs' in its place"),
        ("epochs: 0", "missing key 'steps', or 'epochs' in its place"),
        ("epochs: -1", "epochs must be a number, at least 0, not -1"),
        ("epochs: many", "epochs must be a number, at least 0, not 'many'"),
        ("steps: 0\nepochs: 1", "steps must be an integer, at least 1, not 0"),
    ],
)
def test_a_recipe_has_steps_or_epochs(tmp_path, lines, said):
    path = tmp_path / "a.yaml"
    path.write_text(f"task: image_vae\nlearning_rates: {{}}\n{lines}\n" + "batch_size: 1\n" * ("batch" not in lines))
    with pytest.raises(RecipeError, match=said):
        read_recipe(path)


def test_an_override_of_one_takes_the_place_of_the_other(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("task: image_vae\nlearning_rates: {}\nbatch_size: 1\nsteps: 3\n")
    assert read_recipe(path, ["epochs=0.5"]).epochs == 0.5
    assert (read_recipe(path, ["epochs=0.5"]).steps, read_recipe(path, ["steps=5"]).steps) == (0, 5)
    with pytest.raises(RecipeError, match="both given"):
        read_recipe(path, ["epochs=0.5", "steps=5"])


def test_a_run_of_epochs_trains_their_steps_says_so_and_can_be_resumed(tmp_path, capsys):
    recipe = replace(PICTURE, steps=0, epochs=0.75, model=str(tmp_path / "model"))  # of 8 pictures, two a step
    run_recipe(recipe, tmp_path / "run")
    assert "an epoch is 8 samples, 4 steps of 2 samples; this run: 3 steps, 0.75 epochs\n" in capsys.readouterr().err
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-3"]
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["steps"] == 3 and record["recipe"]["epochs"] == 0.75
    run_recipe(recipe, tmp_path / "run", resume=True)
    with pytest.raises(RecipeError, match=r"epochs \(was 0.75, is 1.0\)"):
        run_recipe(replace(recipe, epochs=1.0), tmp_path / "run", resume=True)


def test_a_dry_run_says_it_too(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = dry_run(stage("encoding_alignment", tiny_folder, steps=0, epochs=2, batch_size=3))
    bins = int(text.split(" items")[0].split()[-1])
    steps = -(-2 * bins // 3)
    assert f"an epoch is 20 records in {bins} bins, " in text and f" {steps} steps of 3 items a process, " in text


def test_a_key_may_follow_an_option(tmp_path, capsys):
    path = tmp_path / "a.yaml"
    path.write_text("task: image_vae\nbatch_size: 1\nlearning_rates: {}\nsteps: 3\n")
    words = ["train", str(path), "seed=1", "--out", str(tmp_path / "run"), "steps=0", "--dry-run", "batch_size=2"]
    assert main(words) == 2
    assert "steps must be an integer, at least 1, not 0" in capsys.readouterr().err
