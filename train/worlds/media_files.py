"""Media files brought to the form in which foundations learn from them, once, and kept on disk; varied copies of them.

A few thousand files need slightly changed copies: what a caption says stays true of those.

Shapes: N files, S pixels a side, F frames, T samples, P points.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.media.decoding_pool import decode_in_pool
from data.media.loading import MediaError, Medium, load_medium
from data.resampling import resample
from decoders.image import resize_image
from train.embeddings.array_files import cached
from train.recipe import RecipeError

CACHE = Path(".cache/media")
RATE, SECONDS = 16_000, 2.0
FRAMES, POINTS = 8, 2048
FULL_SCALE = 32_767
#: Fills the rest of a short clip's row: no sample has this value.
NO_SAMPLE = -32_768
DECODED_AT_A_TIME = 64
#: Deviation of the noise of a quiet room in samples of [-1, 1]: its log-mel is decoders.mel.QUIET.
ROOM_NOISE = 8e-4
#: Greatest changes of a varied copy:
TURN, GROWTH, SHIFT = 10.0, 0.1, 0.07  # degrees; share of the size; share of the side
PACE, LEAD = 0.12, 4800  # share of the speed; samples of silence before the sound, at most


def decode_files(modality: str, files: Sequence[Path], size: int) -> np.ndarray:
    """Media of ``files``, one a row: image uint8 (N, S, S, 3), video uint8 (N, F, S, S, 3), audio int16 (N, T),
    points float32 (N, P, 3). Decoded once, then read from CACHE. RecipeError for a file that cannot be read.
    """
    forms: dict[str, Callable[[Medium], np.ndarray]] = {
        "image": lambda medium: resize_image(medium.array, size),
        "video": lambda medium: np.stack([resize_image(frame, size) for frame in _evenly(medium.array, FRAMES)]),
        "audio": lambda medium: _to_int16(medium.array, int(medium.rate or RATE)),
        "points": lambda medium: _evenly(medium.array, POINTS).astype(np.float32),
    }
    key = f"{modality}-{size}-{files_hash(files)}"
    return cached(CACHE, key, len(files), lambda: map(forms[modality], _loaded(modality, files)))


def files_hash(files: Iterable[Path]) -> str:
    """Short hash of the names, sizes and times of change of files."""
    states = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:16]


def _loaded(modality: str, files: Sequence[Path]) -> Iterator[Medium]:
    """The files' media in order, several at a time, each in a decoding process (data.media.decoding_pool)."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(files), DECODED_AT_A_TIME):
            for medium in threads.map(_load, files[start : start + DECODED_AT_A_TIME]):
                if medium.modality != modality:
                    raise RecipeError(f"{medium.source} is listed as {modality}, but it holds {medium.modality}")
                yield medium


def _load(path: Path) -> Medium:
    try:
        return load_medium(path, decode=decode_in_pool)
    except MediaError as error:
        raise RecipeError(str(error)) from error


def _evenly(rows: np.ndarray, count: int) -> np.ndarray:
    """``count`` of the rows, taken evenly, or repeated."""
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def _to_int16(wave: np.ndarray, rate: int) -> np.ndarray:
    """float (any,) at ``rate`` to int16 (T,) at 16 kHz: the first two seconds, ``NO_SAMPLE`` after the end."""
    clip = resample(torch.from_numpy(wave)[None], rate, RATE)[0].numpy()[: int(RATE * SECONDS)]
    row = np.full(int(RATE * SECONDS), NO_SAMPLE, np.int16)
    row[: len(clip)] = (clip.clip(-1, 1) * FULL_SCALE).round()
    return row


def to_float(row: np.ndarray) -> np.ndarray:
    """A row of int16 (T,) as float32 in [-1, 1], as long as the clip is."""
    return row[row != NO_SAMPLE].astype(np.float32) / FULL_SCALE


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
    turned = image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)
    return np.array(turned)  # a copy: Pillow's own array is read-only, which torch refuses


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
    kept = wave[: length - lead]
    room[lead : lead + len(kept)] += kept
    return room
