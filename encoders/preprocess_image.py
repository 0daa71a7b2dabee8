"""Images for the vision tower: short side to size (bicubic), centre crop, CLIP's mean and deviation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as transforms

from data.strict import setting

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageSettings:
    """``size`` is the side of the square image that the tower sees, in pixels."""

    size: int = setting(224, low=1)
    mean: tuple[float, ...] = CLIP_MEAN
    deviation: tuple[float, ...] = CLIP_DEVIATION


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) -> (H, W, 3); transparency is laid over white."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise ValueError(f"an image of type {image.dtype}: expected uint8")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"an image of shape {image.shape}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def resize_and_crop(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (size, size, 3): bicubic on the short side, then the centre."""
    pixels: Any = Image.fromarray(image)  # torchvision takes these as well as tensors
    resized = transforms.resize(pixels, [size], transforms.InterpolationMode.BICUBIC)
    return np.asarray(transforms.center_crop(resized, [size, size]))


def normalise(pixels: torch.Tensor, settings: ImageSettings) -> torch.Tensor:
    """Pixels in [0, 1], channels third from last, to zero mean and unit deviation."""
    mean = torch.tensor(settings.mean).view(3, 1, 1)
    return (pixels - mean) / torch.tensor(settings.deviation).view(3, 1, 1)


def preprocess_image(image: np.ndarray, settings: ImageSettings) -> torch.Tensor:
    """An image of any size, uint8 (H, W[, 1 | 3 | 4]) -> float32 (3, size, size). ValueError: not such an image."""
    pixels = resize_and_crop(as_rgb(image), settings.size)
    return normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, settings)
