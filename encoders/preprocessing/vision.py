"""Images and videos for the vision tower: short side to size (bicubic), centre crop, CLIP's mean and deviation.

Of videos clips of two frames are taken, the first and the last of each.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from data.strict import setting
from encoders.preprocessing.audio import clip_starts

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


def pad_to_square(image: np.ndarray, colour: Sequence[float]) -> np.ndarray:
    """uint8 (H, W, 3) -> (S, S, 3), S the longer side: in the middle of a square of ``colour``, three shares of 255."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), [int(255 * share) for share in colour], np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def resize_and_crop(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (size, size, 3): bicubic on the short side, then the centre.

    Pixel for pixel as torchvision does it, whose import takes longer than a reply.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    height, width = (size if side == short else int(size * side / short) for side in (height, width))
    resized = Image.fromarray(image)
    if resized.size != (width, height):
        resized = resized.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def normalised(image: np.ndarray, settings: ImageSettings) -> torch.Tensor:
    """uint8 (H, W, 3) -> float32 (3, H, W), of the tower's mean and deviation."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous().float() / 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (settings.mean, settings.deviation))
    return (pixels - mean) / deviation


def preprocess_image(image: np.ndarray, settings: ImageSettings) -> torch.Tensor:
    """An image of any size, uint8 (H, W[, 1 | 3 | 4]) -> float32 (3, size, size). ValueError: not such an image."""
    return normalised(resize_and_crop(as_rgb(image), settings.size), settings)


@dataclass(frozen=True)
class VideoSettings:
    """The defaults are ImageBind's. ``clip_seconds`` 0 cuts a video of any length into ``clips`` equal parts.

    ``crops`` is 3 (both ends and the middle of the longer side, bilinear) or 1 (as images are treated).
    """

    clips: int = setting(5, low=1)
    clip_seconds: float = setting(2.0, low=0)
    crops: Literal[1, 3] = 3


def even_clips(frames: int, clips: int) -> list[tuple[int, int]]:
    """First and last frame of equal parts of a video: 8 frames in 3 clips give (0, 2), (2, 5), (5, 7)."""
    borders = [math.floor((frames - 1) * index / clips + 0.5) for index in range(clips + 1)]
    return list(itertools.pairwise(borders))


def timed_clips(frames: int, rate: float, clips: int, clip_seconds: float) -> list[tuple[int, int]]:
    """First and last frame of clips of a fixed length, spread evenly over the video (ImageBind)."""
    pairs = []
    for start in clip_starts(frames / rate, clip_seconds, clips):
        first = min(math.ceil(start * rate), frames - 1)
        last = min(math.ceil((start + clip_seconds) * rate), frames) - 1
        pairs.append((first, max(first, last)))
    return pairs


def three_crops(frames: torch.Tensor, size: int) -> torch.Tensor:
    """float (T, 3, H, W) -> (3, T, 3, size, size): both ends and the middle along the longer side."""
    height, width = frames.shape[2:]
    # The published loader of videos divides first, which may round to a pixel less than for images.
    if width < height:
        height, width = math.floor(height / width * size), size
    else:
        height, width = size, math.floor(width / height * size)
    frames = F.interpolate(frames, size=(height, width), mode="bilinear", align_corners=False)
    crops = []
    for part in (0.0, 0.5, 1.0):
        top, left = math.ceil((height - size) * part), math.ceil((width - size) * part)
        crops.append(frames[:, :, top : top + size, left : left + size])
    return torch.stack(crops)


def preprocess_video(
    video: np.ndarray, rate: float, settings: VideoSettings, image_settings: ImageSettings
) -> torch.Tensor:
    """uint8 (F, H, W, 3), F >= 1, at ``rate`` frames a second -> (clips * crops, 3, 2, size, size).

    Raises ValueError on a video without frames or a rate that is not positive.
    """
    video = np.asarray(video)
    if video.ndim != 4 or 0 in video.shape:
        raise ValueError(f"a video of shape {video.shape}: expected (frames, height, width, 3)")
    if rate <= 0:
        raise ValueError(f"a frame rate of {rate}: expected a positive number")
    if settings.clip_seconds:
        pairs = timed_clips(len(video), rate, settings.clips, settings.clip_seconds)
    else:
        pairs = even_clips(len(video), settings.clips)
    wanted = sorted({index for pair in pairs for index in pair})
    prepared = {index: _frame_crops(video[index], settings, image_settings) for index in wanted}
    clips = [torch.stack([prepared[first], prepared[last]], dim=2) for first, last in pairs]  # (crops, 3, 2, H, W)
    return torch.cat(clips)


def _frame_crops(frame: np.ndarray, settings: VideoSettings, image: ImageSettings) -> torch.Tensor:
    """One frame -> (crops, 3, size, size)."""
    if settings.crops == 1:
        return preprocess_image(frame, image)[None]
    if settings.crops != 3:
        raise ValueError(f"{settings.crops} crops: expected 1 or 3")
    pixels = normalised(as_rgb(frame), image)
    return three_crops(pixels[None], image.size)[:, 0]
