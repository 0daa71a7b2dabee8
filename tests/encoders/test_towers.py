"""Towers for sounds, points and videos: media of any form become features of one form, and these become phrases."""

import numpy as np
import pytest
import torch

from encoders.phrase_reader import PhraseReader, PhraseReaderConfig
from encoders.towers import (
    AudioTower,
    AudioTowerConfig,
    PointsTower,
    PointsTowerConfig,
    VideoTower,
    VideoTowerConfig,
    loudest_stretch,
)

READER = {"width": 16, "depth": 1, "heads": 2, "phrases": 3}
POINTS = {"points": 40, "groups": 6, "group_size": 8, "patch_widths": (4, 4, 8), "point_depth": 1}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tone(seconds, rate=16_000, frequency=440.0):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def test_a_reader_gives_unit_vectors_and_tokens_as_long_as_phrases_are_said():
    reader = PhraseReader(PhraseReaderConfig(**READER), 12).eval()
    features = torch.randn(2, 5, 16)
    whole, phrases, presence = reader(features)
    assert whole.shape == (2, 12) and phrases.shape == (2, 3, 12) and presence.shape == (2, 3)
    torch.testing.assert_close(whole.norm(dim=-1), torch.ones(2))
    tokens = reader.tokens(features)
    torch.testing.assert_close(tokens[:, 0], whole)
    torch.testing.assert_close(tokens[:, 1:].norm(dim=-1), presence.sigmoid())


@pytest.mark.parametrize("seconds", [0.001, 0.5, 2.56, 7.0])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_sounds_of_any_length_and_rate_have_one_form(seconds, rate, channels):
    tower = AudioTower(AudioTowerConfig(**READER), 12).eval()
    wave = np.stack([tone(seconds, rate)] * channels, axis=-1).squeeze()
    features = tower.preprocess(np.atleast_1d(wave), rate)
    assert features.shape == (256, 80) and features.isfinite().all()
    assert tower.tokens(features[None]).shape == (1, 4, 12)


def test_of_a_long_sound_the_loudest_stretch_is_heard_and_how_loud_it_is():
    wave = torch.zeros(100_000)
    wave[70_000:72_000] = 0.5
    assert loudest_stretch(wave, 20_000).square().sum() == wave.square().sum()
    assert torch.equal(loudest_stretch(wave[:10], 12), torch.zeros(12))
    tower = AudioTower(AudioTowerConfig(**READER), 12)
    soft, loud = (tower.preprocess(level * tone(3.0), None) for level in (0.1, 1.0))
    assert loud.max() - soft.max() == pytest.approx(np.log(100) / 3, abs=0.01)
    silent = tower.preprocess(np.zeros(100), None)
    assert silent.unique().tolist() == pytest.approx([(-11.5 + 6.5) / 3])


@pytest.mark.parametrize("count", [1, 7, 40, 500])
def test_clouds_of_any_size_and_place_have_one_form(count):
    tower = PointsTower(PointsTowerConfig(**READER | POINTS), 12).eval()
    cloud = np.random.default_rng(0).normal(size=(count, 3))
    features = tower.preprocess(cloud, None)
    assert features.shape == (40, 3)
    if count > 1:
        torch.testing.assert_close(tower.preprocess(5 * cloud + 3, None), features, atol=1e-4, rtol=1e-4)
    assert tower.tokens(features[None]).shape == (1, 4, 12)


def test_frames_are_spread_over_a_video_and_a_still_one_does_not_change():
    tower = VideoTower(VideoTowerConfig(**READER, frames=3, objects=2, channels=4, cells=2), 12).eval()
    video = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8)
    assert [int(frame[0, 0, 0]) for frame in tower.frames(video)] == [0, 4, 8]
    assert len(tower.frames(video[:1])) == 3
    maps = torch.randn(2, 1, 4, 6, 6).expand(-1, 3, -1, -1, -1)
    assert not tower.changed(maps).any()
    moved = tower.changed(torch.stack((maps[:, 0], maps[:, 0] + 1, maps[:, 0] + 1), dim=1))
    assert moved.shape == (2, 3, 16) and (moved.abs().sum((0, 2)) > 1e-3).tolist() == [False, True, False]
    assert tower.tokens(torch.randn(2, 3, 3 * 12 + 16)).shape == (2, 4, 12)


@pytest.mark.parametrize(
    ("tower", "array", "words"),
    [
        ("audio", np.array([0.1, np.nan]), "not finite"),
        ("audio", np.zeros(0), "shape"),
        ("audio", np.zeros(10, np.int16), "floating point"),
        ("points", np.full((50, 3), np.inf), "finite numbers"),
        ("points", np.zeros((5, 2)), r"\(N, 3\)"),
        ("video", np.zeros((0, 4, 4, 3), np.uint8), "frames, height, width"),
        ("video", np.zeros((4, 4, 3), np.uint8), "frames, height, width"),
    ],
)
def test_what_is_no_such_medium_is_refused(tower, array, words):
    towers = {
        "audio": lambda: AudioTower(AudioTowerConfig(**READER), 12).preprocess(array, None),
        "points": lambda: PointsTower(PointsTowerConfig(**READER | POINTS), 12).preprocess(array, None),
        "video": lambda: VideoTower(VideoTowerConfig(**READER), 12).frames(array),
    }
    with pytest.raises(ValueError, match=words):
        towers[tower]()
