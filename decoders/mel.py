"""The log-mel spectrogram that AudioLDM's autoencoder and vocoder use, and the way back to a waveform.

Shapes: B waveforms, N samples, T = N / 160 frames, M = 64 mel bands, F frequencies.
"""

from functools import lru_cache

import torch
from torch import nn
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
#: Of fast Griffin-Lim.
MOMENTUM = 0.9


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
    """Waveforms (B, T * HOP) whose log-mels come near ``mel`` (B, T, M), by fast Griffin-Lim. Deterministic.

    Perraudin, Balazs and Sondergaard, 2013.
    """
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
