"""Griffin-Lim: what it says has the log-mel that it was given, and a decoder uses it where its vocoder says so."""

import numpy as np
import torch

from data.toybox import render, sample
from decoders.mel import griffin_lim, log_mel


def test_a_sound_comes_back_from_its_log_mel():
    waves = torch.from_numpy(np.stack([render(sample(5, i), "audio") for i in range(3)]))
    mel = log_mel(waves)
    copied = griffin_lim(mel, 16)
    assert copied.shape == waves.shape
    loud = mel > mel.amax(dim=(1, 2), keepdim=True) - 4
    error = (log_mel(copied) - mel).abs()[loud].mean()
    rough = (log_mel(griffin_lim(mel, 0)) - mel).abs()[loud].mean()
    assert error < 0.5 * rough and error < 0.3
    assert torch.equal(copied, griffin_lim(mel, 16))


def test_a_steady_tone_keeps_its_frequency():
    """Also one that does not fit a whole number of times into a frame."""
    tone = 0.5 * torch.sin(2 * torch.pi * 1037 * torch.arange(32_000) / 16_000)
    spectrum = torch.fft.rfft(griffin_lim(log_mel(tone[None]), 16)[0]).abs()
    near = slice(2 * 940, 2 * 1140)  # one mel band to either side; bins are half a hertz wide
    assert spectrum[near].square().sum() > 0.9 * spectrum.square().sum()
