"""Thermal images for the thermal tower: grey values from 0 to 1, short side to size, centre crop.

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
    """``size`` is the side of the square image that the tower sees, in pixels."""

    size: int = setting(224, low=1)


def as_grey(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W), (H, W, 1) or (H, W, 3), or float (H, W) in 0..1 -> float32 (H, W) in 0..1."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] in (1, 3) and image.dtype == np.uint8:
        image = np.rint(image.mean(axis=2)).astype(np.uint8)
    if image.ndim != 2 or image.size == 0 or not (image.dtype == np.uint8 or image.dtype.kind == "f"):
        raise ValueError(
            f"a thermal image of type {image.dtype} and shape {image.shape}: expected uint8 (H, W[, 1 or 3]) "
            "or float (H, W)"
        )
    grey = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= 1):
        raise ValueError("a thermal image with values outside 0..1: scale its range of temperatures to 0..1 first")
    return grey


def preprocess_thermal(image: np.ndarray, settings: ThermalSettings) -> torch.Tensor:
    """A thermal image of any size -> float32 (1, size, size) in 0..1. ValueError: see :func:`as_grey`."""
    pixels = resize_and_crop(as_grey(image), settings.size)
    return torch.from_numpy(pixels.copy()).clamp(0, 1)[None]  # bicubic filters overshoot at edges
