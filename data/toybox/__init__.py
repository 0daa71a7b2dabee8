"""Toybox: a small generated world of pictures, films, sounds and points, in which every answer can be checked.

A :class:`Scene` is the truth; :func:`render` turns it into a medium, the grammar into words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data.toybox.dialogues import KINDS, MODES, Dialogue, MediaPart, Turn, dialogue, text_only, vocabulary_corpus
from data.toybox.draw import render_image, render_video
from data.toybox.grammar import TAG_WORDS, parse_reply, parse_tags, phrase, tag_caption
from data.toybox.outsiders import outsider, outsider_kind
from data.toybox.points import render_points
from data.toybox.sound import render_audio
from data.toybox.world import (
    BACKGROUNDS,
    CARRIES,
    COLOURS,
    COUNTS,
    HELD_OUT_PAIRS,
    MODALITIES,
    MOTIONS,
    PACES,
    PITCHES,
    PLACES,
    REPEATS,
    SIZES,
    THINGS,
    Scene,
    random_scene,
    sample,
    visible,
)

RENDERERS: dict[str, Callable[..., np.ndarray]] = {
    "image": render_image,
    "video": render_video,
    "audio": render_audio,
    "points": render_points,
}


def render(scene: Scene, modality: str, size: int | None = None) -> np.ndarray:
    """``scene`` as a medium of ``modality``, in the form of its renderer in this package.

    ``size`` is the side of pictures and films in pixels; None = the renderer's own.
    """
    if modality not in RENDERERS:
        raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(RENDERERS)}")
    sized = {"size": size} if size is not None and modality in ("image", "video") else {}
    return RENDERERS[modality](scene, **sized)


__all__ = [
    "BACKGROUNDS",
    "CARRIES",
    "COLOURS",
    "COUNTS",
    "HELD_OUT_PAIRS",
    "KINDS",
    "MODALITIES",
    "MODES",
    "MOTIONS",
    "PACES",
    "PITCHES",
    "PLACES",
    "RENDERERS",
    "REPEATS",
    "SIZES",
    "TAG_WORDS",
    "THINGS",
    "Dialogue",
    "MediaPart",
    "Scene",
    "Turn",
    "dialogue",
    "outsider",
    "outsider_kind",
    "parse_reply",
    "parse_tags",
    "phrase",
    "random_scene",
    "render",
    "render_audio",
    "render_image",
    "render_points",
    "render_video",
    "sample",
    "tag_caption",
    "text_only",
    "visible",
    "vocabulary_corpus",
]
