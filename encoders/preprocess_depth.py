"""Depth maps for the depth tower: metres to disparity, then as a grey image.

ImageBind follows Omnivore (2201.08377, appendix): depth is seen as the disparity that a stereo camera would measure,
so that near things differ more than far ones. The published code has no loader for depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data.strict import setting
from encoders.preprocess_image import resize_and_crop


@dataclass(frozen=True)
class DepthSettings:
    """The defaults are those of SUN RGB-D's Kinect images, with which the released tower was trained.

    ``baseline`` in metres: 0.075 for Kinect 1 and 2, 0.095 for RealSense and Xtion. ``focal_length`` in pixels of
    the map before it is resized. ``nearest`` and ``farthest`` clamp the depth, in metres; ``largest_disparity``, in
    pixels, clamps the disparity and scales it to 0..1.
    """

    size: int = setting(224, low=1)
    baseline: float = setting(0.075, above=0)
    focal_length: float = setting(518.857901, above=0)
    nearest: float = setting(0.01, above=0)
    farthest: float = setting(50.0, above=0)
    largest_disparity: float = setting(75.0, above=0)
    mean: float = 0.0418
    deviation: float = setting(0.0295, above=0)


def disparity(depth: np.ndarray, settings: DepthSettings) -> np.ndarray:
    """Metres (H, W) -> disparity in pixels (H, W): baseline * focal length / depth; 0 where nothing was measured."""
    inside = np.clip(depth, settings.nearest, settings.farthest)
    return np.where(depth > 0, settings.baseline * settings.focal_length / inside, 0.0).astype(np.float32)


def preprocess_depth(depth: np.ndarray, settings: DepthSettings) -> torch.Tensor:
    """Depth in metres, float (H, W) of any size, 0 = not measured -> float32 (1, size, size).

    Raises ValueError for integers (millimetres must be divided first), negative values and values not finite.
    """
    depth = np.asarray(depth)
    if depth.dtype.kind != "f" or depth.ndim != 2 or depth.size == 0:
        raise ValueError(f"a depth map of type {depth.dtype} and shape {depth.shape}: expected metres, float (H, W)")
    if not np.isfinite(depth).all() or (depth < 0).any():
        raise ValueError("a depth map with values that are negative or not finite: expected metres, 0 = not measured")
    seen = np.minimum(disparity(depth, settings) / settings.largest_disparity, 1.0)
    pixels = torch.from_numpy(resize_and_crop(seen, settings.size).copy())
    return ((pixels - settings.mean) / settings.deviation)[None]
