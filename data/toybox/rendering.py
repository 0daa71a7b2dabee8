"""Scenes as media: one function for all modalities."""

from collections.abc import Callable

import numpy as np

from data.toybox.audio.render import render_audio
from data.toybox.dialogues.speaker import MediaPart
from data.toybox.drawing.render import render_image, render_video, thing_mask
from data.toybox.out_of_distribution.stream import out_of_distribution_medium
from data.toybox.points.render import render_points
from data.toybox.world import Scene

__all__ = ["RENDERERS", "render", "render_medium", "thing_mask"]

RENDERERS: dict[str, Callable[..., np.ndarray]] = {
    "image": render_image,
    "video": render_video,
    "audio": render_audio,
    "points": render_points,
}


def render(scene: Scene, modality: str, size: int | None = None) -> np.ndarray:
    """``scene`` as a medium of ``modality``: image uint8 (size, size, 3), video uint8 (8, size, size, 3), audio float32
    (32000,), points float32 (256, 3).

    ``size`` is the side of images and videos in pixels, 128 where it is None.
    """
    if modality not in RENDERERS:
        raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(RENDERERS)}")
    sized = {"size": size} if size is not None and modality in ("image", "video") else {}
    return RENDERERS[modality](scene, **sized)


def render_medium(part: MediaPart) -> np.ndarray:
    """The medium of a dialogue's part: its scene, or the out-of-distribution medium that it names."""
    if part.scene is not None:
        return render(part.scene, part.modality)
    assert part.out_of_distribution is not None
    return out_of_distribution_medium(part.modality, *part.out_of_distribution)
