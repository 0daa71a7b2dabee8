"""Media files brought to the form in which foundations learn from them, once, and kept on disk.

Letters: N files, S pixels a side, F frames, T samples.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

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
#: Fills the rest of a short sound's row: no sample of a sound has this value.
NO_SAMPLE = -32_768
DECODED_AT_A_TIME = 64


def decoded(modality: str, files: Sequence[Path], size: int) -> np.ndarray:
    """Media of ``files``, one a row: image uint8 (N, S, S, 3), video uint8 (N, F, S, S, 3), audio int16 (N, T),
    points float32 (N, P, 3). Decoded once, then read from CACHE. RecipeError for a file that is not taken in.
    """
    forms: dict[str, Callable[[Medium], np.ndarray]] = {
        "image": lambda medium: resize_image(medium.array, size),
        "video": lambda medium: film(medium.array, size),
        "audio": lambda medium: stored_sound(medium.array, int(medium.rate or RATE)),
        "points": lambda medium: cloud(medium.array),
    }
    key = f"{modality}-{size}-{files_hash(files)}"
    return cached(CACHE, key, len(files), lambda: map(forms[modality], _loaded(modality, files)))


def files_hash(files: Sequence[Path]) -> str:
    """Short hash of the names, sizes and times of change of files."""
    told = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _loaded(modality: str, files: Sequence[Path]) -> Iterator[Medium]:
    """The files' media in order. Each is decoded in a process of its own (data.media.decoding_pool), several at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(files), DECODED_AT_A_TIME):
            for medium in threads.map(load, files[start : start + DECODED_AT_A_TIME]):
                if medium.modality != modality:
                    raise RecipeError(f"{medium.source} is listed as {modality}, but it holds {medium.modality}")
                yield medium


def load(path: Path) -> Medium:
    """The medium of a file; RecipeError with the intake's sentence."""
    try:
        return load_medium(path, decode=decode_in_pool)
    except MediaError as error:
        raise RecipeError(str(error)) from error


def film(frames: np.ndarray, size: int) -> np.ndarray:
    """uint8 (any, H, W, 3) to uint8 (F, S, S, 3), frames taken evenly."""
    chosen = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
    return np.stack([resize_image(frames[index], size) for index in chosen])


def stored_sound(wave: np.ndarray, rate: int) -> np.ndarray:
    """float (any,) at ``rate`` to int16 (T,) at 16 kHz: its first two seconds, ``NO_SAMPLE`` after its end."""
    heard = resample(torch.from_numpy(wave)[None], rate, RATE)[0].numpy()[: int(RATE * SECONDS)]
    row = np.full(int(RATE * SECONDS), NO_SAMPLE, np.int16)
    row[: len(heard)] = (heard.clip(-1, 1) * FULL_SCALE).round()
    return row


def sound(row: np.ndarray) -> np.ndarray:
    """The inverse of :func:`stored_sound`: float32, as long as the sound is."""
    return row[row != NO_SAMPLE].astype(np.float32) / FULL_SCALE


def cloud(points: np.ndarray) -> np.ndarray:
    """float (any, 3) to float32 (P, 3): points taken evenly, or repeated."""
    return points[np.linspace(0, len(points) - 1, POINTS).round().astype(int)].astype(np.float32)
