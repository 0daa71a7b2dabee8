"""Depth, thermal and motion sensors and point clouds for their towers. The published code has loaders for none of them.

Depth becomes disparity, as ImageBind follows Omnivore (2201.08377, appendix): it is seen as a stereo camera would
measure it, so that near things differ more than far ones.
"""

from dataclasses import dataclass

import numpy as np
import torch

from data.strict import setting
from encoders.points import farthest_points, normalise_points
from encoders.preprocessing.vision import resize_and_crop

MAX_POINTS_COMPARED = 8192


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


@dataclass(frozen=True)
class ThermalSettings:
    """``size`` is the side of the square image that the tower sees, in pixels; ImageBind normalises nothing further."""

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


@dataclass(frozen=True)
class ImuSettings:
    """``samples`` readings, evenly spread over ``seconds``, of ``channels`` values each, as ImageBind takes Ego4D's."""

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


def preprocess_points(points: np.ndarray, count: int) -> torch.Tensor:
    """Any cloud (N, 3) -> float32 (count, 3), centred, of unit radius.

    Of a larger cloud points far from each other are kept, those of a smaller one are repeated.
    """
    cloud = torch.as_tensor(np.asarray(points))
    if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) == 0 or not torch.isfinite(cloud).all():
        raise ValueError(f"a point cloud of shape {tuple(cloud.shape)}: expected finite numbers (N, 3), N >= 1")
    cloud = cloud.float()
    if len(cloud) > MAX_POINTS_COMPARED:
        cloud = cloud[torch.linspace(0, len(cloud) - 1, MAX_POINTS_COMPARED).long()]
    if len(cloud) > count:
        centred = cloud - cloud.mean(dim=0)
        cloud = cloud[farthest_points(centred[None], count)[0]]
    elif len(cloud) < count:
        cloud = cloud[torch.arange(count) % len(cloud)]
    return normalise_points(cloud)
