"""Slightly changed copies of media, for sets of a few thousand files: what a caption says stays true of them."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

#: Deviation of the noise of a quiet room in samples of [-1, 1]: its log-mel is decoders.mel.QUIET.
ROOM_NOISE = 8e-4
TURN, GROWTH, SHIFT = 10.0, 0.1, 0.07  # degrees; share of the size; share of the side
PACE, LEAD = 0.12, 4800  # share of the speed; samples of silence before the sound, at most


def varied(modality: str, medium: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A changed copy: images turned, grown and shifted, audio faster or slower and later; the rest as they are."""
    if modality == "image":
        return moved(medium, rng)
    return repaced(medium, rng) if modality == "audio" else medium


def moved(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (S, S, 3), turned, grown and shifted a little; what comes in at the edge has the colour of the border."""
    size = len(pixels)
    angle, scale = math.radians(rng.uniform(-TURN, TURN)), 1 + rng.uniform(-GROWTH, GROWTH)
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    middle, (right, down) = size / 2, rng.uniform(-SHIFT, SHIFT, 2) * size
    matrix = (
        cosine, sine, middle - cosine * (middle + right) - sine * (middle + down),
        -sine, cosine, middle + sine * (middle + right) - cosine * (middle + down),
    )  # fmt: skip
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(value) for value in np.median(border, axis=0))
    image = Image.fromarray(pixels)
    return np.array(  # a copy: torch refuses what Pillow lets nobody write to
        image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)
    )


def repaced(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 (any,), faster or slower, louder or quieter and, half of the time, later and in a quiet room."""
    pace, loudness = 1 + rng.uniform(-PACE, PACE), rng.uniform(0.6, 1.2)
    places = np.arange(0, len(wave) - 1, pace)
    spoken = (loudness * np.interp(places, np.arange(len(wave)), wave)).clip(-1, 1).astype(np.float32)
    if rng.random() < 0.5:
        return spoken
    return in_a_room(spoken, 2 * 16_000, int(rng.integers(LEAD)), rng)


def in_a_room(wave: np.ndarray, length: int, lead: int, rng: np.random.Generator) -> np.ndarray:
    """float32 (length,): the sound from sample ``lead`` on, over the noise of a quiet room; cut at the end."""
    room = (ROOM_NOISE * rng.standard_normal(length)).astype(np.float32)
    heard = wave[: length - lead]
    room[lead : lead + len(heard)] += heard
    return room
