"""Thermal pictures for the thermal tower: grey values from 0 to 1, short side to size, centre crop.

ImageBind trained on the infrared half of LLVIP and normalises nothing further. The published code has no loader.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data.strict import setting
from encoders.preprocess_image import resize_and_crop


@dataclass(frozen=True)
class ThermalSettings:
    """``size`` is the side of the square picture that the tower sees, in pixels."""

    size: int = setting(224, low=1)


def as_grey(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W), (H, W, 1) or (H, W, 3), or float (H, W) in 0..1 -> float32 (H, W) in 0..1."""
    picture = np.asarray(picture)
    if picture.ndim == 3 and picture.shape[2] in (1, 3) and picture.dtype == np.uint8:
        picture = np.rint(picture.mean(axis=2)).astype(np.uint8)
    if picture.ndim != 2 or picture.size == 0 or not (picture.dtype == np.uint8 or picture.dtype.kind == "f"):
        raise ValueError(
            f"a thermal picture of type {picture.dtype} and shape {picture.shape}: expected uint8 (H, W[, 1 or 3]) "
            "or float (H, W)"
        )
    grey = picture.astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
    if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= 1):
        raise ValueError("a thermal picture with values outside 0..1: scale its range of temperatures to 0..1 first")
    return grey


def preprocess_thermal(picture: np.ndarray, settings: ThermalSettings) -> torch.Tensor:
    """A thermal picture of any size -> float32 (1, size, size) in 0..1. ValueError: see :func:`as_grey`."""
    pixels = resize_and_crop(as_grey(picture), settings.size)
    return torch.from_numpy(pixels.copy()).clamp(0, 1)[None]  # bicubic filters overshoot at edges
