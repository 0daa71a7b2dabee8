"""What oracles and judges have in common: layers, the media as network inputs, and files.

Shapes: B batch, C channels, H height, W width, N audio samples, M mel bands, T mel frames.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers.audio_utils import mel_filter_bank

from data.atomic import atomic_file, write_json
from data.resampling import resample
from encoders.preprocessing.audio import as_wave
from nextgpt_lite import ReplyMedium

SAMPLE_RATE = 16_000  # of what log_mel reads
SAMPLES = 32_000  # two seconds


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch norm, SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)
    )


class Residual(nn.Module):
    """x + two convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.body(features)


def resize(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, size, size) float in 0..255, by area."""
    return F.interpolate(pixels.float(), (size, size), mode="area")


def scale_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """0..255 -> -1..1."""
    return pixels / 127.5 - 1


def image_inputs(arrays: Sequence[np.ndarray], size: int) -> torch.Tensor:
    """uint8 (H, W, 3) of any sizes -> (B, 3, size, size) in -1..1."""
    return scale_pixels(torch.cat([resize(torch.from_numpy(array).movedim(-1, 0)[None], size) for array in arrays]))


def audio_inputs(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    """float32 (N,) at 16 kHz, the first two seconds of each -> (B, 1, 64, 128)."""
    waves = [np.pad(array[:SAMPLES], (0, max(0, SAMPLES - len(array)))) for array in arrays]
    return scale_mel(log_mel(torch.from_numpy(np.stack(waves)).float()))


def classifier_array(medium: ReplyMedium) -> np.ndarray:
    """A generated medium's array, audio as float32 (N,) at 16 kHz."""
    if medium.modality != "audio":
        return medium.array
    return resample(as_wave(medium.array), round(medium.rate or SAMPLE_RATE), SAMPLE_RATE)[0].numpy()


@cache
def mel_filters() -> torch.Tensor:
    """Triangular filters between 40 and 8,000 Hz, evenly spaced on the mel scale: (513 frequencies, 64 bands)."""
    filters = mel_filter_bank(513, 64, 40.0, 8000.0, SAMPLE_RATE, mel_scale="htk")
    return torch.from_numpy(filters).float()


def log_mel(waves: torch.Tensor) -> torch.Tensor:
    """(B, 32000) in [-1, 1] at 16 kHz -> (B, 64, 128): log10 mel amplitude between -4 and about 2."""
    spectrum = torch.stft(waves, 1024, 250, window=torch.hann_window(1024), return_complex=True).abs()
    mel = torch.einsum("bft,fm->bmt", spectrum, mel_filters())  # (B, 64, 129)
    return torch.log10(mel.clamp_min(1e-4))[:, :, :128]


def scale_mel(mels: torch.Tensor) -> torch.Tensor:
    """(B, M, T) log10 amplitudes -> (B, 1, M, T) about -1..1, loud and quiet audio brought together."""
    loudest = mels.flatten(1).amax(1).clamp_min(-2.5)[:, None, None]  # silence stays silent
    return ((mels - loudest + 1.5).clamp_min(-1.5) / 1.5)[:, None]


def save_classifier(folder: Path, modality: str, weights: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write ``<modality>.safetensors`` and ``<modality>.json`` into ``folder``, each of them atomically."""
    with atomic_file(folder / f"{modality}.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary)
    write_json(folder / f"{modality}.json", config)
