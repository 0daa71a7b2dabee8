"""Pools: the first media of a stream and what is made of them, computed once and kept on disk.

Item ``i`` of a pool belongs to item ``i`` of its stream, so captions need not be stored: the stream knows them.
Shapes: C latent channels, F frames, h x w latent pixels; B clips, N samples, T = N / 160 frames of M = 64 bands.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.utils.data import Dataset

from decoders.audio import encode_mel
from decoders.image import encode_images
from decoders.mel import log_mel
from train.embeddings.array_files import cached
from train.foundations.components import weights_hash
from train.settings import RecipeError, setting
from train.worlds import MediaStream, World
from train.worlds.media_files import RATE, in_a_room

#: Training pools draw from the first stream, figures from the second.
TRAIN_SEED, HELD_OUT_SEED = 1001, 2002
#: Stream of the clips that the figures of audio are of.
AUDIO_HELD_OUT_SEED = 992
#: Silence before a clip that is shorter than the stream's clips, in samples.
LEAD = 1600
BATCH = 32


@dataclass(frozen=True)
class DataSettings:
    """The setting that all foundations share."""

    data: Any = setting([], help="manifests, see train.worlds; none = Toybox")


class EndlessDataset(Dataset):
    """A dataset that has an item for any index. ``length`` items are an epoch: the order of training depends on it."""

    length = 1 << 20

    def __len__(self) -> int:
        return self.length


class WithArrays(Dataset):
    """Items of ``dataset``, tuples, each with a row of every array: row ``index % rows``."""

    def __init__(self, dataset: Dataset[tuple], *arrays: np.ndarray) -> None:
        self.dataset, self.arrays = dataset, arrays

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def __getitem__(self, index: int) -> tuple:
        return *self.dataset[index], *(array[index % len(array)] for array in self.arrays)


def media_of(world: World, modality: str, seed: int, held_out: bool = False) -> MediaStream:
    """The media of a world; RecipeError where it has none of this modality."""
    stream = world.stream(modality, seed, held_out)
    if not len(stream):
        raise RecipeError(stream.missing or f"the data hold no {modality} with a caption to train on")
    return stream


@dataclass(frozen=True)
class Pool:
    """The first ``count`` media of ``stream``, or all where it has fewer; files lie in ``cache_dir``."""

    stream: MediaStream
    most: int
    cache_dir: str

    @property
    def count(self) -> int:
        return min(self.most, len(self.stream))

    def batches(self, size: int = BATCH) -> Iterator[range]:
        """Indices of the media, ``size`` at a time."""
        for start in range(0, self.count, size):
            yield range(start, min(start + size, self.count))

    def cached(self, kind: str, make: Callable[[], Iterable[np.ndarray]], *depends_on: object) -> np.ndarray:
        """The arrays that ``make()`` yields, one for each medium, stacked: read from the cache, or made and kept.

        The file's name holds ``kind``, what is in ``depends_on``, and the stream.
        """
        key = "-".join(map(str, (kind, self.stream.seed, self.count, *depends_on, self.stream.key)))
        return cached(self.cache_dir, key, self.count, make)

    def pixels(self, size: int) -> np.ndarray:
        """Images uint8 (count, size, size, 3)."""
        return self.cached("images", lambda: (self.stream.medium(i, size) for i in range(self.count)), size)

    def masks(self, size: int) -> np.ndarray:
        """How much of each pixel of the images captions speak of: uint8 (count, size, size), 255 = all of it."""
        masks = ((255 * self.stream.mask(i, size)).round().astype(np.uint8) for i in range(self.count))
        return self.cached("image-masks", lambda: masks, size)

    def covered_cells(self, size: int, cells: int, frames: int | None = None) -> torch.Tensor:
        """Which latent cells captions speak of, 0 or 1: images (count, 1, cells, cells), videos (count, frames, ...).

        ``size`` are the pixels on a side, ``frames`` those of a video; None for images.
        """

        def of_medium(index: int) -> np.ndarray:
            if frames is None:
                return covered_cells(self.stream.mask(index, size), cells)[None]
            masks = (self.stream.mask(index, size, frame, frames) for frame in range(frames))
            return np.stack([covered_cells(mask, cells)[None] for mask in masks])

        how = (self.stream.modality, size, cells, frames)
        return torch.from_numpy(self.cached("cells", lambda: map(of_medium, range(self.count)), *how))

    def latents(self, vae: AutoencoderKL) -> torch.Tensor:
        """Scaled latents in half precision: images (count, C, h, w), videos (count, F, C, h, w)."""
        kind = f"{self.stream.modality}-latents"
        return torch.from_numpy(self.cached(kind, lambda: self._encoded(vae), weights_hash(vae)))

    @torch.no_grad()
    def _encoded(self, vae: AutoencoderKL) -> Iterator[np.ndarray]:
        for rows in self.batches():
            media = [self.stream.medium(row, vae.config["sample_size"]) for row in rows]
            batches = [media] if self.stream.modality == "image" else media
            encoded = [encode_images(vae, batch).half().cpu().numpy() for batch in batches]
            yield from encoded[0] if self.stream.modality == "image" else encoded


@dataclass(frozen=True)
class AudioPool(Pool):
    """The first clips of a stream of audio, all as long as its longest."""

    @cached_property
    def content(self) -> str:
        """Changes with the clips."""
        return content_hash([waveforms(self.stream, range(min(BATCH, len(self.stream)))).numpy()])

    def waves(self) -> Iterator[torch.Tensor]:
        """All clips, up to ``BATCH`` of them (B, N) at a time."""
        return (waveforms(self.stream, rows) for rows in self.batches())

    def latents(self, vae: AutoencoderKL) -> torch.Tensor:
        """Scaled latents (count, C, T / 8, M / 8) in half precision."""
        made = (item for waves in self.waves() for item in encode_mel(vae, log_mel(waves)).half().numpy())
        return torch.from_numpy(self.cached("audio-latents", lambda: made, self.content, weights_hash(vae)))


def waveforms(stream: MediaStream, indices: Iterable[int]) -> torch.Tensor:
    """Clips (B, N) of a stream, float32 in [-1, 1]; a short one is padded with the noise of a quiet room."""
    return torch.from_numpy(np.stack([_clip(stream, index) for index in indices]))


def _clip(stream: MediaStream, index: int) -> np.ndarray:
    wave, length = stream.medium(index), round(RATE * stream.seconds)
    if len(wave) == length:
        return wave
    return in_a_room(wave, length, min(LEAD, length - len(wave)), np.random.default_rng((stream.seed, index)))


def content_hash(arrays: Iterable[np.ndarray]) -> str:
    """Short hash of what arrays hold. That of a pool's first media is in its file's name: other code, another file."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:10]


def covered_cells(mask: np.ndarray, cells: int) -> np.ndarray:
    """Pixels (H, W) to cells (cells, cells): 1 where more than a twentieth of the cell is covered."""
    side = len(mask) // cells
    return (mask.reshape(cells, side, cells, side).mean(axis=(1, 3)) > 0.05).astype(np.float16)
