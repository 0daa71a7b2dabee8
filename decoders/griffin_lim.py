"""Waveforms from log-mels without a trained vocoder: fast Griffin-Lim (Perraudin, Balazs and Sondergaard, 2013).

Shapes: B waveforms, N samples, T mel frames, M mel bands, F frequencies.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from decoders.mel import HOP, WINDOW, bank_and_window

MOMENTUM = 0.9


class GriffinLimVocoder(nn.Module):
    """Stands in a pipeline where its vocoder was, and keeps that vocoder's configuration.

    A generator that knows a steady tone by its mel alone, the same in every frame, can only repeat itself with every
    frame: its tones come out as a buzz unless it is large and long trained. Phases that agree with each
    other from frame to frame have no such trouble, whatever the tone.
    """

    def __init__(self, vocoder: nn.Module, rounds: int) -> None:
        super().__init__()
        self.vocoder, self.rounds = vocoder, rounds
        self.config = vocoder.config

    @property
    def device(self) -> torch.device:
        return next(self.vocoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.vocoder.parameters()).dtype

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Log-mels (B, T, M) or (T, M) to waveforms (B, T * HOP) or (T * HOP,)."""
        waveform = griffin_lim(mel.float().view(-1, *mel.shape[-2:]), self.rounds)
        return waveform if mel.ndim == 3 else waveform[0]


@torch.no_grad()
def griffin_lim(mel: torch.Tensor, rounds: int) -> torch.Tensor:
    """Waveforms (B, T * HOP) whose log-mels come near ``mel`` (B, T, M). Deterministic."""
    bank, window = bank_and_window(mel.device)
    magnitude = (mel.exp() @ torch.linalg.pinv(bank)).clamp_min(0).transpose(1, 2)  # (B, F, T)
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(magnitude.shape[1:], generator=generator).to(mel.device)
    phase = torch.polar(torch.ones_like(magnitude), angle.expand_as(magnitude))
    before = torch.zeros_like(phase)
    for _ in range(rounds):
        found = torch.stft(_overlap_add(magnitude * phase, window), WINDOW, HOP, window=window, center=False,
                           return_complex=True)  # fmt: skip
        ahead = found + MOMENTUM * (found - before)
        phase, before = ahead / ahead.abs().clamp_min(1e-8), found
    margin = (WINDOW - HOP) // 2
    return _overlap_add(magnitude * phase, window)[:, margin : margin + mel.shape[1] * HOP]


def _overlap_add(spectrum: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Spectra (B, F, T) to waveforms (B, (T - 1) * HOP + WINDOW): the inverse of an STFT without padding."""
    frames = torch.fft.irfft(spectrum, WINDOW, dim=1) * window[:, None]  # (B, WINDOW, T)
    length = (spectrum.shape[-1] - 1) * HOP + WINDOW

    def add(frames: torch.Tensor) -> torch.Tensor:
        return functional.fold(frames, (1, length), (1, WINDOW), stride=(1, HOP))[:, 0, 0]

    power = window.square()[None, :, None].expand(1, -1, spectrum.shape[-1])
    return add(frames) / add(power).clamp_min(1e-3)
