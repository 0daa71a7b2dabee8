"""Motion sensors for the imu tower: three axes of acceleration and three of rotation, five seconds of them.

ImageBind takes 2,000 readings of 5 s from Ego4D, without normalisation. The published code has no loader.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data.strict import setting


@dataclass(frozen=True)
class ImuSettings:
    """``samples`` readings, evenly spread over ``seconds``, of ``channels`` values each."""

    channels: int = setting(6, low=1)
    samples: int = setting(2000, low=1)
    seconds: float = setting(5.0, above=0)

    @property
    def rate(self) -> float:
        """Readings a second that the tower sees."""
        return self.samples / self.seconds


def preprocess_imu(readings: np.ndarray, rate: float, settings: ImuSettings) -> torch.Tensor:
    """Readings (N, 6) or (6, N), ``rate`` of them a second, -> float32 (6, samples).

    The middle of a longer recording is taken, a shorter one is followed by zeros; other rates are brought to the
    tower's by linear interpolation. Raises ValueError on another shape, values not finite, or a senseless rate.
    """
    readings = np.asarray(readings)
    if readings.ndim != 2 or settings.channels not in readings.shape or 0 in readings.shape:
        raise ValueError(f"motion readings of shape {readings.shape}: expected (N, {settings.channels})")
    if not (np.isfinite(rate) and rate > 0):
        raise ValueError(f"a rate of {rate}: expected a positive number of readings a second")
    if not np.isfinite(readings).all():
        raise ValueError("motion readings with values that are not finite numbers")
    channels = readings if readings.shape[0] == settings.channels else readings.T  # (6, N)
    recorded = np.arange(channels.shape[1]) / rate
    first = max(0.0, (channels.shape[1] / rate - settings.seconds) / 2)
    wanted = first + np.arange(settings.samples) / settings.rate
    resampled = [np.interp(wanted, recorded, channel, right=0.0) for channel in channels]
    return torch.from_numpy(np.stack(resampled)).float()
