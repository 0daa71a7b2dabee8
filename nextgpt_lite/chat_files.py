"""Files of a chat in a browser: what a user attaches becomes a content part and a file that the browser can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.media_formats import EXTENSIONS
from data.media_intake import SUFFIXES, VISITORS, Medium, load_medium, save_medium
from nextgpt_lite.commands.chat import VIDEO_REPEAT, VIDEO_UPSCALE, media_part

if TYPE_CHECKING:
    from nextgpt_lite.any_to_any import ReplyMedium

#: The extensions of files that are taken in.
ACCEPTED = tuple(EXTENSIONS)
#: The most bytes that one file may have.
MAX_BYTES = VISITORS.bytes
#: What browsers show as it is; anything else is written anew for them.
SHOWN_AS_THEY_ARE = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".wav", ".mp3", ".flac", ".ogg", ".mp4", ".webm")
_CLOUD_SIDE, _PAPER, _INK = 288, (250, 250, 249), np.array([15.0, 118.0, 110.0])


def attach(path: Path, folder: Path, number: int) -> tuple[dict[str, Any], Path]:
    """A user's file -> (content part for the model, file for the browser). MediaError for a file that is not taken in.

    The file for the browser is the given one where browsers show it, else ``folder``/attached-``number``.
    """
    medium = load_medium(path, VISITORS)
    if path.suffix.lower() in SHOWN_AS_THEY_ARE:
        return media_part(medium), path
    shown = medium
    if medium.modality == "points":
        shown = Medium("image", draw_points(medium.array))
    suffix = {"image": ".png", "video": ".mp4", "audio": ".wav"}[shown.modality]
    target = folder / f"attached-{number}{suffix}"
    scale = {"upscale": VIDEO_UPSCALE, "repeat": VIDEO_REPEAT} if shown.modality == "video" and _is_small(shown) else {}
    return media_part(medium), save_medium(shown, target, **scale)


def save_reply_medium(medium: ReplyMedium, path: Path) -> Path:
    """Write a medium of a reply so that browsers show it; ``path`` gets the suffix. Says where it is."""
    scale = {"upscale": VIDEO_UPSCALE, "repeat": VIDEO_REPEAT} if medium.modality == "video" else {}
    target = path.with_suffix(SUFFIXES[medium.modality])
    return save_medium(Medium(medium.modality, medium.array, medium.rate), target, **scale)


def draw_points(points: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) of points (N, 3), z upwards: seen a little from the side, near ones darker."""
    centred = points - (points.min(0) + points.max(0)) / 2
    centred = centred / max(float(np.linalg.norm(centred, axis=1).max()), 1e-9)  # (N, 3) in the unit ball
    across = 0.9 * centred[:, 0] + 0.44 * centred[:, 1]
    depth = 0.44 * centred[:, 0] - 0.9 * centred[:, 1]
    order = np.argsort(depth)  # far ones first
    columns = ((across * 0.44 + 0.5) * _CLOUD_SIDE).astype(int)[order]
    rows = ((0.5 - centred[:, 2] * 0.44) * _CLOUD_SIDE).astype(int)[order]
    nearness = (depth[order] * 0.5 + 0.5)[:, None]
    colours = (_INK * (0.3 + 0.7 * nearness) + np.array(_PAPER) * 0.7 * (1 - nearness)).astype(np.uint8)  # (N, 3)
    picture = np.full((_CLOUD_SIDE, _CLOUD_SIDE, 3), _PAPER, np.uint8)
    radius = 2 if len(points) < 5000 else 1
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down**2 + right**2 <= radius**2 + 1:
                picture[(rows + down).clip(0, _CLOUD_SIDE - 1), (columns + right).clip(0, _CLOUD_SIDE - 1)] = colours
    return picture


def _is_small(film: Medium) -> bool:
    return max(film.array.shape[1:3]) <= 256
