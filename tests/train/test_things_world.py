"""The world of things as streams: four media, and a sentence where what they are made of was not fetched."""

import numpy as np
import pytest

from data import things
from data.things.motion_rendering import FRAMES
from train.foundations.pools import media_of, waveforms
from train.recipe import RecipeError
from train.worlds import ENDLESS, ThingsWorld


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))


def test_images_and_videos_need_nothing(empty_cache):
    for modality, shape in (("image", (64, 64, 3)), ("video", (FRAMES, 64, 64, 3))):
        stream = media_of(ThingsWorld(), modality, 3)
        assert len(stream) == ENDLESS and stream.missing == ""
        assert stream.medium(1, 64).shape == shape
        assert stream.caption(1) and stream.caption(1) == ThingsWorld().stream(modality, 3).caption(1)
    assert stream.mask(1, 64, FRAMES - 1, FRAMES).max() == 1.0


@pytest.mark.parametrize(("modality", "bank"), [("audio", "sounds"), ("points", "models")])
def test_what_was_not_fetched_is_said(empty_cache, modality, bank):
    assert len(ThingsWorld().stream(modality, 1)) == 0
    with pytest.raises(RecipeError, match=f"get them with `python -m data.things.fetch {bank}`"):
        media_of(ThingsWorld(), modality, 1)


@pytest.mark.skipif(not things.has_bank("sounds"), reason="the bank of sounds is not there")
def test_sounds_are_clips_of_one_length():
    stream = media_of(ThingsWorld(), "audio", 1)
    clips = waveforms(stream, range(3)).numpy()
    assert clips.shape == (3, round(16_000 * things.sounds.SECONDS))
    assert np.array_equal(clips[1], stream.medium(1))


@pytest.mark.skipif(not things.has_bank("models"), reason="the bank of 3D models is not there")
def test_models_held_out_of_training_are_asked_for():
    stream = media_of(ThingsWorld(), "points", 1, held_out=True)
    scene = stream.scene(4)
    assert scene.model in things.points.model_kinds()[scene.kind].held_out
    assert stream.medium(4).shape == (2048, 3)


def test_each_medium_has_a_key_of_its_own():
    keys = {modality: ThingsWorld().stream(modality, 1).key for modality in ("image", "video", "audio", "points")}
    assert len(set(keys.values())) == 4
