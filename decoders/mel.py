"""The log-mel spectrogram that AudioLDM's autoencoder and vocoder use.

Shapes: B waveforms, N samples, T = N / 160 frames, M = 64 mel bands.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

SAMPLING_RATE = 16_000
WINDOW = 1024
HOP = 160
BANDS = 64
MAX_FREQUENCY = 8000.0
#: Smallest band value before the logarithm: digital silence is log(1e-5) = -11.5.
FLOOR = 1e-5
#: Middle and spread of the log-mels of audio with a quiet background: they bring them to about unit size.
MIDDLE, SPREAD = -5.0, 3.0
#: Log-mel of a quiet room.
QUIET = -7.0


@lru_cache(maxsize=4)
def bank_and_window(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Slaney filter bank (WINDOW / 2 + 1, M) and Hann window (WINDOW,)."""
    bank = mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, MAX_FREQUENCY, SAMPLING_RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank).float().to(device), torch.hann_window(WINDOW, device=device)


def log_mel(waveform: torch.Tensor) -> torch.Tensor:
    """Log-mel spectrogram (B, T, M) of float waveforms (B, N) at 16 kHz in [-1, 1].

    Magnitudes (not powers) of a 1024-point STFT with hop 160, reflected at both ends so that N / 160 frames come
    out, in 64 Slaney bands from 0 to 8 kHz, natural logarithm. Raises ValueError for a wrong shape, and for
    audio shorter than a window.
    """
    if waveform.ndim != 2 or waveform.shape[1] < WINDOW:
        raise ValueError(f"waveform of shape {tuple(waveform.shape)}: expected (B, N) with N >= {WINDOW}")
    bank, window = bank_and_window(waveform.device)
    margin = (WINDOW - HOP) // 2
    padded = functional.pad(waveform.float(), (margin, margin), mode="reflect")
    spectrum = torch.stft(padded, WINDOW, HOP, window=window, center=False, return_complex=True)  # (B, F, T)
    bands = spectrum.abs().transpose(1, 2) @ bank  # (B, T, M)
    return bands.clamp(min=FLOOR).log()
