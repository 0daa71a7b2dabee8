"""Odd pictures, sounds and videos are answered or refused. (Equal to the published loaders: tests/parity.)"""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as transforms

from data.resampling import resample
from encoders.preprocessing.audio import AudioSettings, preprocess_audio
from encoders.preprocessing.vision import (
    ImageSettings,
    VideoSettings,
    even_clips,
    preprocess_image,
    preprocess_video,
    three_crops,
    timed_clips,
)


def test_overlapping_clips_do_not_change_each_other():
    wave = torch.randn(48000, generator=torch.Generator().manual_seed(1)) * 0.1 + 0.3
    clips = preprocess_audio(wave, 16000, AudioSettings())
    alone = preprocess_audio(wave[8000:40000], 16000, AudioSettings())
    assert torch.allclose(clips[1], alone[0], atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 44101, 48000, 192000])
def test_any_rate(rate):
    time = torch.arange(rate) / rate
    found = resample(torch.sin(2 * torch.pi * 440 * time)[None], rate, 16000)[0]
    assert abs(len(found) - 16000) <= 1
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(len(found)) / 16000)
    assert (found - expected)[1000:-1000].abs().max() < 0.01


@pytest.mark.parametrize("samples", [1, 100, 399, 5000, 40000, 200_000])
def test_any_length(samples):
    clips = preprocess_audio(np.full(samples, 0.1, np.float32), 16000, AudioSettings())
    assert clips.shape == (1 if samples <= 32000 else 3, 1, 128, 204)
    assert torch.isfinite(clips).all()


def test_bad_sounds_are_named():
    with pytest.raises(ValueError, match="shape"):
        preprocess_audio(np.zeros(0, np.float32), 16000, AudioSettings())
    with pytest.raises(ValueError, match="sample rate of 0"):
        preprocess_audio(np.zeros(10, np.float32), 0, AudioSettings())
    with pytest.raises(ValueError, match="not finite"):
        preprocess_audio(np.array([0.1, np.nan], np.float32), 16000, AudioSettings())
    with pytest.raises(ValueError, match="int16"):
        preprocess_audio(np.zeros(10, np.int16), 16000, AudioSettings())


@pytest.mark.parametrize(("height", "width"), [(20, 31), (31, 20), (16, 16), (49, 63)])
def test_three_crops_of_any_shape(height, width):
    frames = torch.rand(2, 3, height, width)
    crops = three_crops(frames, 16)
    assert crops.shape == (3, 2, 3, 16, 16)
    assert torch.equal(crops[0], crops[2]) == (height == width)


def test_frames_of_clips():
    assert even_clips(8, 3) == [(0, 2), (2, 5), (5, 7)]
    assert even_clips(1, 3) == [(0, 0)] * 3
    assert timed_clips(8, 4, 5, 2.0) == [(0, 7)] * 5
    assert timed_clips(1, 30, 2, 2.0) == [(0, 0)] * 2


@pytest.mark.parametrize(("height", "width"), [(20, 31), (31, 20), (32, 32), (49, 63), (700, 33), (1, 5), (301, 448)])
def test_images_are_prepared_as_by_torchvision(height, width):
    rng, settings = np.random.default_rng(height), ImageSettings(size=32)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    resized = transforms.resize(Image.fromarray(image), [32], transforms.InterpolationMode.BICUBIC)
    expected = transforms.to_tensor(transforms.center_crop(resized, [32, 32]))
    expected = transforms.normalize(expected, list(settings.mean), list(settings.deviation))
    assert torch.equal(preprocess_image(image, settings), expected)


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (64, 64, 1), (700, 33, 3), (20, 30, 4)])
def test_any_picture(shape):
    pixels = preprocess_image(np.zeros(shape, np.uint8), ImageSettings(size=32))
    assert pixels.shape == (3, 32, 32)


def test_bad_pictures_and_videos_are_named():
    with pytest.raises(ValueError, match="float32"):
        preprocess_image(np.zeros((4, 4, 3), np.float32), ImageSettings())
    with pytest.raises(ValueError, match=r"\(4, 4, 2\)"):
        preprocess_image(np.zeros((4, 4, 2), np.uint8), ImageSettings())
    with pytest.raises(ValueError, match="shape"):
        preprocess_video(np.zeros((0, 4, 4, 3), np.uint8), 4, VideoSettings(), ImageSettings())
    with pytest.raises(ValueError, match="frame rate of 0"):
        preprocess_video(np.zeros((2, 4, 4, 3), np.uint8), 0, VideoSettings(), ImageSettings())
