"""The tasks that train the oracles, at tiny size, and the damage that they do to renders."""

import numpy as np
import pytest
import torch

from data import toybox
from evaluation.classifiers import log_mel
from evaluation.toybox.oracles import scenes
from train.foundations.classifiers.damage import compressed, damage_mel, damage_pixels, delayed, through_mel
from train.foundations.classifiers.oracles import AudioOracleTask, ImageOracleTask, VideoOracleTask
from train.recipe import read_recipe
from train.task import build_task, trainable_groups

TASKS = {"image": ImageOracleTask, "video": VideoOracleTask, "audio": AudioOracleTask}


def tiny(modality, folder):
    settings = {"pool": 6, "width": 8, "held_out": 4, "cache": str(folder / "cache")}
    torch.manual_seed(0)
    return TASKS[modality](settings, folder / "weights")


@pytest.mark.parametrize("modality", TASKS)
def test_a_task_trains_exports_and_evaluates(modality, tmp_path):
    task = tiny(modality, tmp_path)
    batch = task.collate([task.dataset[number] for number in range(4)])
    before = [p.clone() for p in task.parts()["oracle"]]
    optimiser = torch.optim.AdamW(task.parts()["oracle"], lr=1e-2)
    task.model(**batch)["loss"].backward()
    optimiser.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, task.parts()["oracle"], strict=True))
    task.model.eval()
    task.export(tmp_path / "weights")
    assert (tmp_path / "weights" / f"{modality}.safetensors").is_file()
    assert set(task.evaluate()) == set(toybox.CARRIES[modality])


@pytest.mark.parametrize("modality", TASKS)
def test_items_and_batches_are_deterministic_and_rounds_differ(modality, tmp_path):
    task, again = tiny(modality, tmp_path), tiny(modality, tmp_path)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1
    first, second = (t.collate([t.dataset[1], t.dataset[8]]) for t in (task, again))
    torch.testing.assert_close(first["inputs"], second["inputs"], rtol=0, atol=0)
    later = task.collate([task.dataset[7], task.dataset[14]])  # the same renders, one round on
    assert torch.equal(first["labels"], later["labels"])
    assert not torch.equal(first["inputs"], later["inputs"])


@pytest.mark.parametrize("modality", TASKS)
def test_the_recipe_is_readable_and_trains_all_of_the_oracle(modality, tmp_path):
    overrides = ["task_settings.pool=2", f"task_settings.cache={tmp_path}", "task_settings.width=8"]
    recipe = read_recipe(f"train/recipes/judges/oracle_{modality}.yaml", overrides)
    assert recipe.model == "evaluation/weights"
    task = build_task(recipe)
    trained = {id(p) for group in trainable_groups(task, recipe) for p in group["params"]}
    assert trained == {id(p) for p in task.model.parameters()}


def test_damage_keeps_the_image_recognisable():
    pixels = (
        torch.from_numpy(np.stack([toybox.render(scene, "image") for scene in scenes(3, 8)])).movedim(-1, 1).float()
    )
    damaged = damage_pixels(pixels, torch.Generator().manual_seed(0), 8)
    assert damaged.shape == pixels.shape
    assert damaged.min() >= 0
    assert damaged.max() <= 255
    assert 2 < (damaged - pixels).abs().mean() < 40


def test_the_frames_of_a_video_share_their_shift_and_colours():
    frames = torch.full((8, 3, 64, 64), 100.0)
    damaged = damage_pixels(frames, torch.Generator().manual_seed(1), 1).mean((2, 3))
    assert (damaged - damaged.mean(0)).abs().max() < 2


def test_compression_is_exact_at_a_vanishing_step_and_coarse_at_a_large_one():
    pixels = torch.rand(2, 3, 16, 16) * 255
    steps = torch.tensor([1e-4, 60.0])[:, None, None, None]
    error = (compressed(pixels, steps) - pixels).abs().amax((1, 2, 3))
    assert error[0] < 0.01
    assert error[1] > 10


def test_a_delay_moves_in_time_and_fills_with_silence():
    mel = torch.arange(12.0).reshape(2, 6)
    assert delayed(mel, 2)[0].tolist() == [-4, -4, 0, 1, 2, 3]
    assert delayed(mel, -2)[0].tolist() == [2, 3, 4, 5, -4, -4]


def test_audio_keeps_its_shape_through_mel_and_damage():
    wave = torch.from_numpy(toybox.render(toybox.sample(3, 0, "all"), "audio"))[None]
    rebuilt = through_mel(wave)
    assert rebuilt.shape == wave.shape
    original, later = log_mel(wave), log_mel(rebuilt)
    assert torch.corrcoef(torch.stack((original.flatten(), later.flatten())))[0, 1] > 0.9
    damaged = damage_mel(original, torch.Generator().manual_seed(0))
    assert torch.corrcoef(torch.stack((original.flatten(), damaged.flatten())))[0, 1] > 0.6
