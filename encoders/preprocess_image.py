"""Pictures for the vision tower: short side to size (bicubic), centre crop, CLIP's mean and deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from data.strict import setting

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageSettings:
    """``size`` is the side of the square picture that the tower sees, in pixels."""

    size: int = setting(224, low=1)
    mean: tuple[float, ...] = CLIP_MEAN
    deviation: tuple[float, ...] = CLIP_DEVIATION


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) -> (H, W, 3); transparency is laid over white."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8:
        raise ValueError(f"a picture of type {picture.dtype}: expected uint8")
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or 0 in picture.shape:
        raise ValueError(f"a picture of shape {picture.shape}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if picture.shape[2] == 4:
        alpha = picture[..., 3:].astype(np.float32) / 255
        picture = np.rint(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def short_side(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width after the shorter of them becomes ``size``."""
    if height <= width:
        return size, max(size, int(size * width / height))
    return max(size, int(size * height / width)), size


def resize_and_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (size, size, 3): bicubic on the short side, then the centre."""
    image = Image.fromarray(picture)
    height, width = short_side(picture.shape[0], picture.shape[1], size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def normalise(pixels: torch.Tensor, settings: ImageSettings) -> torch.Tensor:
    """Pixels in [0, 1], channels third from last, to zero mean and unit deviation."""
    mean = torch.tensor(settings.mean).view(3, 1, 1)
    return (pixels - mean) / torch.tensor(settings.deviation).view(3, 1, 1)


def preprocess_image(picture: np.ndarray, settings: ImageSettings) -> torch.Tensor:
    """A picture of any size, uint8 (H, W[, 1 | 3 | 4]) -> float32 (3, size, size). ValueError: not such a picture."""
    pixels = resize_and_crop(as_rgb(picture), settings.size)
    return normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, settings)
