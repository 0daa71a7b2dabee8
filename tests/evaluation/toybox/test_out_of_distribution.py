"""Photographs and recordings from outside Toybox."""

import numpy as np
import pytest

from data import toybox
from evaluation.toybox.cases import resampled, sample_medium


@pytest.mark.parametrize(("modality", "shape"), [("image", (128, 128, 3)), ("audio", (32_000,))])
def test_out_of_distribution_media_have_the_form_of_renders_and_repeat(modality, shape):
    first, rate = sample_medium(modality, 1, 2)
    assert first.shape == shape
    assert first.dtype == toybox.render(toybox.sample(0, 0), modality).dtype
    assert rate == (16_000 if modality == "audio" else None)
    assert np.array_equal(first, sample_medium(modality, 1, 2)[0])
    assert not np.array_equal(first, sample_medium(modality, 2, 2)[0])


def test_resampling_keeps_a_tone():
    time = np.arange(88_200) / 44_100
    wave = resampled(np.sin(2 * np.pi * 440 * time).astype(np.float32), 32_000)
    assert np.allclose(wave, np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000), atol=1e-3)
