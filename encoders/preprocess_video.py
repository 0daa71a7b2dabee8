"""Videos for the vision tower: clips of two frames, the first and the last of each."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from data.strict import setting
from encoders.preprocess_audio import clip_starts
from encoders.preprocess_image import ImageSettings, as_rgb, normalise, preprocess_image


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


def _frame_crops(frame: np.ndarray, settings: VideoSettings, image_settings: ImageSettings) -> torch.Tensor:
    """One frame -> (crops, 3, size, size)."""
    if settings.crops == 1:
        return preprocess_image(frame, image_settings)[None]
    if settings.crops != 3:
        raise ValueError(f"{settings.crops} crops: expected 1 or 3")
    pixels = torch.from_numpy(as_rgb(frame).copy()).permute(2, 0, 1)[None].float() / 255
    return three_crops(normalise(pixels, image_settings), image_settings.size)[:, 0]
