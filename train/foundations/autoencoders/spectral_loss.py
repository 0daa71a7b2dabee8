"""The distance of two waveforms' spectra: the vocoder's loss.

Shapes: B segments, N samples, F frequencies, T frames.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from decoders.mel import log_mel

#: Window lengths of the multi-resolution STFT; hops are a quarter of them.
WINDOWS = (2048, 1024, 512, 256, 128)
FLOOR = 1e-4


def spectral_loss(copied: torch.Tensor, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
    """{"loss", "magnitude", "logarithm", "mel"} of waveforms (B, N), float32.

    ``magnitude`` is the relative error of the STFT magnitudes (spectral convergence), ``logarithm`` the mean
    difference of their logarithms, both averaged over the resolutions; ``mel`` is that of the log-mels.
    """
    magnitude = logarithm = torch.zeros(())
    for window in WINDOWS:
        copy, original = magnitudes(copied, window), magnitudes(waveform, window)  # (B, F, T)
        distance = (copy - original).square().sum((1, 2)).add(1e-9).sqrt()
        magnitude = magnitude + (distance / (original.square().sum((1, 2)).sqrt() + 0.1)).mean() / len(WINDOWS)
        logarithm = logarithm + (copy.log() - original.log()).abs().mean() / len(WINDOWS)
    mel = (log_mel(copied) - log_mel(waveform)).abs().mean()
    loss = magnitude + logarithm + mel
    return {"loss": loss, "magnitude": magnitude.detach(), "logarithm": logarithm.detach(), "mel": mel.detach()}


def magnitudes(waveform: torch.Tensor, window: int) -> torch.Tensor:
    """STFT magnitudes (B, F, T) of waveforms (B, N), scaled to amplitudes and kept above FLOOR."""
    taper = torch.hann_window(window, device=waveform.device)
    padded = functional.pad(waveform, (window // 2, window // 2), mode="reflect")
    spectrum = torch.stft(padded, window, window // 4, window=taper, center=False, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1) / (window / 4) ** 2
    return power.add(FLOOR**2).sqrt()
