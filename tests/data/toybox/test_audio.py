"""The sounds of the world: form, determinism, and that pitch, pace and repeats can be measured in the wave."""

import time
from itertools import pairwise

import numpy as np
import pytest

from data.toybox.audio.render import PACE_SECONDS, SAMPLES, VOICES, render_audio
from data.toybox.audio.waves import RATE
from data.toybox.world import PACES, PITCHES, REPEATS, THINGS, sample


def soundings(wave: np.ndarray, gap: float = 0.09) -> list[tuple[float, float]]:
    """(start, end) in seconds of the stretches above 5 % of the loudest 10 ms, joined over silences below ``gap``."""
    frames = np.sqrt((wave.reshape(-1, 160) ** 2).mean(1))
    loud = np.flatnonzero(frames > 0.05 * frames.max()) * 160 / RATE
    breaks = np.flatnonzero(np.diff(loud) > gap)
    return list(zip(loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, len(loud) - 1]], strict=True))


def centroid(wave: np.ndarray) -> float:
    """Mean of the logarithm of frequency, weighted by power, in octaves."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    heard = (frequency > 40) & (power > 1e-4 * power.max())
    return float(np.sum(power[heard] * np.log2(frequency[heard])) / power[heard].sum())


def test_every_thing_has_a_voice():
    assert set(VOICES) == set(THINGS)


@pytest.mark.parametrize("thing", THINGS)
def test_form_and_determinism(thing):
    scene = sample(0, 1).with_(thing=thing)
    wave = render_audio(scene)
    assert wave.shape == (SAMPLES,)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert 0.2 < np.abs(wave).max() <= 1
    assert np.array_equal(wave, render_audio(scene))
    assert not np.array_equal(wave, render_audio(scene.with_(jitter=scene.jitter + 1)))


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("repeats", REPEATS)
def test_repeats_can_be_counted_and_fit(thing, pace, repeats):
    for index in range(4):
        scene = sample(2, index).with_(thing=thing, pace=pace, repeats=repeats)
        found = soundings(render_audio(scene))
        starts = [start for start, _ in found]
        period = sum(PACE_SECONDS[pace])
        merged = 1 + sum(later - earlier > 0.85 * period for earlier, later in pairwise(starts))
        assert found[-1][1] < 2.0
        assert len(found) >= repeats
        assert merged <= repeats


@pytest.mark.parametrize("thing", THINGS)
def test_pitch_moves_the_spectrum(thing):
    means = []
    for pitch in PITCHES:
        scenes = [sample(3, index).with_(thing=thing, pitch=pitch) for index in range(8)]
        means.append(np.mean([centroid(render_audio(scene)) for scene in scenes]))
    low, medium, high = means
    assert medium - low > 0.3
    assert high - medium > 0.3


@pytest.mark.parametrize("thing", THINGS)
def test_pace_shortens_a_sounding(thing):
    lengths = []
    for pace in PACES:
        scenes = [sample(4, index).with_(thing=thing, pace=pace, repeats=1) for index in range(6)]
        spans = [soundings(render_audio(scene), gap=1.0)[0] for scene in scenes]
        lengths.append(np.mean([end - start for start, end in spans]))
    slow, medium, fast = lengths
    assert slow > 1.2 * medium > 1.2 * 1.2 * fast


def test_little_lies_above_seven_kilohertz():
    for index in range(40):
        power = np.abs(np.fft.rfft(render_audio(sample(5, index)))) ** 2
        assert power[14_000:].sum() < 0.01 * power.sum()


def test_speed():
    scenes = [sample(6, index) for index in range(40)]
    start = time.perf_counter()
    for scene in scenes:
        render_audio(scene)
    assert (time.perf_counter() - start) / len(scenes) < 0.05
