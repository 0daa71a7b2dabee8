"""Photographs and recordings from outside, and how a report shows media."""

import numpy as np
import pytest

from data import toybox
from data.toybox import world
from evaluation.outside_media import outside, resampled
from evaluation.pictures import cloud, film_strip, message_html, spectrogram


@pytest.mark.parametrize(("modality", "shape"), [("image", (128, 128, 3)), ("audio", (32_000,))])
def test_outside_media_have_the_form_of_renders_and_repeat(modality, shape):
    first, rate = outside(modality, 1, 2)
    assert first.shape == shape
    assert first.dtype == toybox.render(world.sample(0, 0), modality).dtype
    assert rate == (16_000 if modality == "audio" else None)
    assert np.array_equal(first, outside(modality, 1, 2)[0])
    assert not np.array_equal(first, outside(modality, 2, 2)[0])


def test_resampling_keeps_a_tone():
    time = np.arange(88_200) / 44_100
    wave = resampled(np.sin(2 * np.pi * 440 * time).astype(np.float32), 32_000)
    assert np.allclose(wave, np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000), atol=1e-3)


def test_media_become_pictures():
    scene = world.sample(0, 0)
    assert film_strip(toybox.render_video(scene)).shape == (64, 512, 3)
    assert spectrogram(toybox.render_audio(scene)).shape == (128, 256, 3)
    assert cloud(toybox.render_points(scene)).min() < 90


def test_a_message_escapes_its_text_and_embeds_its_media():
    parts = [{"type": "text", "text": "<b> & co"}]
    parts += [{"type": m, "array": toybox.render(world.sample(0, 0), m)} for m in world.MODALITIES]
    page = message_html({"role": "user", "content": parts})
    assert "&lt;b&gt; &amp; co" in page
    assert page.count("data:image/png") == 4
    assert page.count("data:audio/wav") == 1
