"""Audio for the audio tower: resampling, clips, Kaldi's log-mel filter bank. All of it in plain torch."""

import math
import warnings
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from transformers.audio_utils import mel_filter_bank

from data.resampling import resample
from data.strict import setting

FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010
LOWEST_FREQUENCY = 20.0
PRE_EMPHASIS = 0.97
LOG_FLOOR = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class AudioSettings:
    """The defaults are ImageBind's. ``clips`` of ``clip_seconds`` are taken evenly from a longer recording."""

    rate: int = setting(16000, low=1)
    mels: int = setting(128, low=1)
    frames: int = setting(204, low=1)
    clip_seconds: float = setting(2.0, above=0)
    clips: int = setting(3, low=1)
    mean: float = -4.268
    deviation: float = setting(9.138, above=0)


def clip_starts(duration: float | Fraction, clip_seconds: float | Fraction, clips: int) -> list[Fraction]:
    """Starts in seconds of ``clips`` clips spread evenly from 0 to the last that fits; all 0 in a short recording."""
    last = max(Fraction(duration) - Fraction(clip_seconds), Fraction(0))
    return [last * index / max(clips - 1, 1) for index in range(clips)]


@lru_cache(maxsize=8)
def mel_filters(mels: int, bins: int, rate: int) -> torch.Tensor:
    """Triangles on the mel scale from 20 Hz to half the rate: (mels, bins), bins = transform size / 2 + 1."""
    with warnings.catch_warnings(action="ignore"):  # of the lowest bands, which are empty in ImageBind's too
        filters = mel_filter_bank(bins, mels, LOWEST_FREQUENCY, rate / 2, rate, None, "kaldi", True)
    filters[-1] = 0  # Kaldi leaves out the highest frequency
    return torch.from_numpy(filters.T).float()


def filter_bank(wave: torch.Tensor, rate: int, mels: int) -> torch.Tensor:
    """Kaldi's log-mel energies of a mono wave: (..., N) -> (..., frames, mels); 25 ms frames every 10 ms.

    Each frame loses its mean, is pre-emphasised (0.97) and Hann-windowed; frames that do not fit are left out.
    """
    size, hop = int(rate * FRAME_SECONDS), int(rate * HOP_SECONDS)
    if wave.shape[-1] < size:
        wave = F.pad(wave, (0, size - wave.shape[-1]))
    frames = wave.unfold(-1, size, hop)  # (..., frames, size)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = (frames - PRE_EMPHASIS * previous) * torch.hann_window(size, periodic=False)
    transform = 2 ** math.ceil(math.log2(size))
    power = torch.fft.rfft(frames, n=transform).abs().square()  # (..., frames, transform / 2 + 1)
    return (power @ mel_filters(mels, transform // 2 + 1, rate).T).clamp_min(LOG_FLOOR).log()


def as_wave(audio: np.ndarray | torch.Tensor) -> torch.Tensor:
    """float (N,), (N, channels) or (channels, N) -> float32 (channels, N). ValueError: empty, not finite, no audio."""
    wave = torch.as_tensor(np.asarray(audio))
    if not wave.is_floating_point():
        raise ValueError(f"audio of type {wave.dtype}: expected floating point samples in [-1, 1]")
    if wave.ndim == 1:
        wave = wave[None]
    if wave.ndim != 2 or wave.numel() == 0:
        raise ValueError(f"audio of shape {tuple(wave.shape)}: expected (N,), (channels, N) or (N, channels)")
    if not wave.isfinite().all():
        raise ValueError("audio with samples that are not finite numbers")
    return (wave.T if wave.shape[0] > wave.shape[1] else wave).float()


def spectrogram(clip: torch.Tensor, settings: AudioSettings) -> torch.Tensor:
    """One clip (channels, N), already without its mean -> normalised (1, mels, frames); raw zeros pad a short one."""
    energies = filter_bank(clip[0], settings.rate, settings.mels).T[:, : settings.frames]
    energies = F.pad(energies, (0, settings.frames - energies.shape[1]))
    return ((energies - settings.mean) / settings.deviation)[None]


def preprocess_audio(
    audio: np.ndarray | torch.Tensor, rate: int, settings: AudioSettings, *, always_all_clips=False, leak_means=False
) -> torch.Tensor:
    """Audio of any length and rate -> (clips, 1, mels, frames); one clip suffices for audio no longer than a clip.

    ``always_all_clips`` repeats that clip as ImageBind does (the average is the same). ``leak_means`` reproduces
    a fault of the published loader: it subtracts the mean of each clip in place, so that overlapping clips
    change each other. Raises ValueError on empty audio or a rate that is not positive.
    """
    wave = resample(as_wave(audio), rate, settings.rate).clone()
    duration = Fraction(wave.shape[1], settings.rate)
    short = duration <= Fraction(settings.clip_seconds) and not always_all_clips
    clips = []
    for start in clip_starts(duration, settings.clip_seconds, 1 if short else settings.clips):
        end = start + Fraction(settings.clip_seconds)
        clip = wave[:, int(start * settings.rate) : int(end * settings.rate)]
        clip = clip.sub_(clip.mean()) if leak_means else clip - clip.mean()
        clips.append(spectrogram(clip, settings))
    return torch.stack(clips)
