"""Pictures, sounds and videos become what the published loaders make of them; odd input is answered or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from encoders.preprocess_audio import AudioSettings, clip_starts, preprocess_audio, resample
from encoders.preprocess_image import ImageSettings, preprocess_image
from encoders.preprocess_video import VideoSettings, even_clips, preprocess_video, timed_clips

GOLDEN = Path(__file__).parents[1] / "golden" / "imagebind"


@pytest.mark.parametrize("case", ["short1s", "exact2s", "overlap3s"])
def test_filter_bank_equals_kaldi(case):
    golden = load_file(GOLDEN / "pre_audio_edge.safetensors")
    wave, rate = golden[f"inputs/wave.{case}"], int(golden[f"inputs/rate.{case}"])
    clips = preprocess_audio(wave, rate, AudioSettings(), always_all_clips=True, leak_means=True)
    assert (clips - golden[f"outputs/audio.{case}"]).abs().max() < 2e-4


def test_silence():
    golden = load_file(GOLDEN / "pre_audio_edge.safetensors")
    wave = torch.zeros(int(golden["inputs/zeros_len.silence3s"]))
    clips = preprocess_audio(wave, int(golden["inputs/rate.silence3s"]), AudioSettings())
    assert (clips[:1] - golden["outputs/audio.silence3s"]).abs().max() < 1e-6


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
    with pytest.raises(ValueError, match="int16"):
        preprocess_audio(np.zeros(10, np.int16), 16000, AudioSettings())


def test_clip_times():
    expected = json.loads((GOLDEN / "pre_video_frames.json").read_text())["clip_timepoints"]
    for name, spans in expected.items():
        duration, clips = name.split("s_")
        found = [float(start) for start in clip_starts(float(duration), 2.0, int(clips))]
        assert found == pytest.approx([start for start, _ in spans])


@pytest.mark.parametrize("name", ["landscape", "portrait"])
def test_video_frames(name):
    golden = load_file(GOLDEN / "pre_video_frames.safetensors")
    frames = golden[f"inputs/{name}"].permute(1, 2, 3, 0).numpy()
    clips = preprocess_video(frames, 4, VideoSettings(clips=1), ImageSettings())  # (3, 3, 2, 224, 224)
    found = clips[:, :, :1, 1::4, 2::4]
    assert (found - golden[f"outputs/{name}_sub4"]).abs().max() < 1e-4


def test_frames_of_clips():
    assert even_clips(8, 3) == [(0, 2), (2, 5), (5, 7)]
    assert even_clips(1, 3) == [(0, 0)] * 3
    assert timed_clips(8, 4, 5, 2.0) == [(0, 7)] * 5
    assert timed_clips(1, 30, 2, 2.0) == [(0, 0)] * 2


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
