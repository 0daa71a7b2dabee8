"""Pools of encoded media, made once and kept on disk under a key of what they depend on.

Item ``i`` of a pool is item ``i`` of a stream, so captions need not be stored: the stream knows them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from decoders.image import encode_images
from train.array_files import cached
from train.worlds.base import MediaStream

#: Training pools draw from the first stream, figures from the second.
TRAIN_SEED, HELD_OUT_SEED = 1001, 2002
ENCODE_BATCH = 32


def image_latents(vae: AutoencoderKL, stream: MediaStream, count: int, cache_dir: str | Path) -> torch.Tensor:
    """Scaled latents (count, C, h, w) in half precision of the first ``count`` pictures of a stream."""
    key = f"image-latents-{stream.seed}-{count}-{stream.key}-{weights_hash(vae)}"
    pictures = (stream.medium(i, vae.config.sample_size) for i in range(count))
    return torch.from_numpy(cached(cache_dir, key, count, lambda: _encoded(vae, pictures)))


def video_latents(vae: AutoencoderKL, stream: MediaStream, count: int, cache_dir: str | Path) -> torch.Tensor:
    """Scaled latents (count, F, C, h, w) in half precision of the first ``count`` films of a stream."""
    key = f"video-latents-{stream.seed}-{count}-{stream.key}-{weights_hash(vae)}"
    films = (stream.medium(i, vae.config.sample_size) for i in range(count))
    return torch.from_numpy(cached(cache_dir, key, count, lambda: (_encode(vae, film) for film in films)))


def image_pictures(stream: MediaStream, count: int, size: int, cache_dir: str | Path) -> np.ndarray:
    """The first ``count`` pictures of a stream: uint8 (count, size, size, 3)."""
    key = f"pictures-{stream.seed}-{count}-{size}-{stream.key}"
    return cached(cache_dir, key, count, lambda: (stream.medium(i, size) for i in range(count)))


def image_masks(stream: MediaStream, count: int, size: int, cache_dir: str | Path) -> np.ndarray:
    """How much of each of their pixels captions speak of: uint8 (count, size, size), 255 = all of it."""
    key = f"picture-masks-{stream.seed}-{count}-{size}-{stream.key}"
    masks = ((255 * stream.mask(i, size)).round().astype(np.uint8) for i in range(count))
    return cached(cache_dir, key, count, lambda: masks)


def image_things(stream: MediaStream, count: int, size: int, cells: int, cache_dir: str | Path) -> torch.Tensor:
    """Which latent cells (count, 1, cells, cells) of pictures ``size`` pixels wide captions speak of: 0 or 1."""
    key = f"image-things-{stream.seed}-{count}-{size}-{cells}-{stream.key}"
    masks = (_touched(stream.mask(i, size), cells)[None] for i in range(count))
    return torch.from_numpy(cached(cache_dir, key, count, lambda: masks))


def video_things(
    stream: MediaStream, count: int, size: int, cells: int, frames: int, cache_dir: str | Path
) -> torch.Tensor:
    """The same for films: (count, frames, 1, cells, cells)."""
    key = f"video-things-{stream.seed}-{count}-{size}-{cells}-{frames}-{stream.key}"

    def masks(index: int) -> np.ndarray:
        return np.stack([_touched(stream.mask(index, size, i, frames), cells)[None] for i in range(frames)])

    return torch.from_numpy(cached(cache_dir, key, count, lambda: (masks(i) for i in range(count))))


def _touched(mask: np.ndarray, cells: int) -> np.ndarray:
    """Pixels (H, W) to cells (cells, cells): 1 where more than a twentieth of the cell is covered."""
    side = len(mask) // cells
    return (mask.reshape(cells, side, cells, side).mean(axis=(1, 3)) > 0.05).astype(np.float16)


def write_component(folder: Path, save: Callable[[Path], object]) -> None:
    """``save`` into a folder beside ``folder``, then put it in its place: a cut leaves the old one whole."""
    aside = folder.with_name(f"writing-{os.getpid()}-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    save(aside)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)


def weights_hash(module: torch.nn.Module) -> str:
    """Short hash of a module's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]


def _encoded(vae: AutoencoderKL, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Latents of a stream of images, encoded in batches."""
    batch: list[np.ndarray] = []
    for image in images:
        batch.append(image)
        if len(batch) == ENCODE_BATCH:
            yield from _encode(vae, batch)
            batch = []
    if batch:
        yield from _encode(vae, batch)


@torch.no_grad()
def _encode(vae: AutoencoderKL, images: list[np.ndarray] | np.ndarray) -> np.ndarray:
    return encode_images(vae, images).half().cpu().numpy()
