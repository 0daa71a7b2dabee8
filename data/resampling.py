"""Resampling of audio in plain torch, for encoders, decoders and datasets."""

import math
from fractions import Fraction
from functools import lru_cache

import torch
import torch.nn.functional as F

SINC_ZEROS = 6
ROLL_OFF = 0.99
LARGEST_RATIO = 1000


@lru_cache(maxsize=8)
def _resampling_kernel(old: int, new: int) -> tuple[torch.Tensor, int]:
    """Windowed-sinc filters (new, 1, taps), one for each phase of the output, and their half width."""
    cut_off = min(old, new) * ROLL_OFF
    half_width = math.ceil(SINC_ZEROS * old / cut_off)
    taps = torch.arange(-half_width, half_width + old, dtype=torch.float64) / old
    phases = torch.arange(0, -new, -1, dtype=torch.float64)[:, None] / new
    time = ((phases + taps) * cut_off).clamp(-SINC_ZEROS, SINC_ZEROS)
    window = torch.cos(time * math.pi / SINC_ZEROS / 2) ** 2
    kernel = torch.sinc(time) * window * cut_off / old
    return kernel[:, None].float(), half_width


def resample(wave: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """(channels, N) at ``rate`` -> (channels, ceil(N * target / rate)), by a Hann-windowed sinc.

    Ratios whose reduced terms exceed 1000 (44,101 Hz, say) are rounded to the nearest that do not.
    """
    if rate <= 0:
        raise ValueError(f"a sample rate of {rate}: expected a positive number of samples a second")
    if rate == target:
        return wave
    ratio = Fraction(int(rate), target)
    if max(ratio.numerator, ratio.denominator) > LARGEST_RATIO:
        scale = max(1.0, rate / target)
        ratio = ratio.limit_denominator(max(1, int(LARGEST_RATIO / scale)))
    if ratio <= 0:
        raise ValueError(f"a sample rate of {rate} is too low to bring to {target}")
    kernel, half_width = _resampling_kernel(ratio.numerator, ratio.denominator)
    padded = F.pad(wave[:, None], (half_width, half_width + ratio.numerator))
    phases = F.conv1d(padded, kernel.to(wave), stride=ratio.numerator)  # (channels, new, steps)
    return phases.transpose(1, 2).flatten(1)[:, : math.ceil(wave.shape[1] / ratio)]
