"""Pools of encoded scenes, made once and kept on disk under a key of what they depend on.

Item ``i`` of a pool shows ``sample(seed, i)``, so captions need not be stored: they are named from the scene.
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
from tqdm import tqdm

from data import toybox
from data.toybox.draw import render_image, render_video, thing_mask
from data.toybox.world import Scene, sample
from decoders.image import encode_images

#: Training pools draw from the first stream, figures from the second.
TRAIN_SEED, HELD_OUT_SEED = 1001, 2002
ENCODE_BATCH = 32


def image_latents(vae: AutoencoderKL, count: int, seed: int, cache_dir: str | Path) -> torch.Tensor:
    """Scaled latents (count, C, h, w) in half precision of the pictures of ``sample(seed, 0 .. count - 1)``."""
    key = f"image-latents-{seed}-{count}-{toybox_hash()}-{weights_hash(vae)}"
    rendered = (render_image(sample(seed, i), vae.config.sample_size) for i in range(count))
    return torch.from_numpy(cached(cache_dir, key, count, lambda: _encoded(vae, rendered)))


def video_latents(vae: AutoencoderKL, count: int, seed: int, cache_dir: str | Path) -> torch.Tensor:
    """Scaled latents (count, F, C, h, w) in half precision of the videos of ``sample(seed, 0 .. count - 1)``."""
    key = f"video-latents-{seed}-{count}-{toybox_hash()}-{weights_hash(vae)}"
    rendered = (render_video(sample(seed, i), size=vae.config.sample_size) for i in range(count))
    return torch.from_numpy(cached(cache_dir, key, count, lambda: (_encode(vae, video) for video in rendered)))


def image_things(count: int, seed: int, size: int, cells: int, cache_dir: str | Path) -> torch.Tensor:
    """Which latent cells (count, 1, cells, cells) the things of pictures ``size`` pixels wide touch: 0 or 1."""
    key = f"image-things-{seed}-{count}-{size}-{cells}-{toybox_hash()}"
    masks = (_touched(thing_mask(sample(seed, i), size), cells)[None] for i in range(count))
    return torch.from_numpy(cached(cache_dir, key, count, lambda: masks))


def video_things(count: int, seed: int, size: int, cells: int, frames: int, cache_dir: str | Path) -> torch.Tensor:
    """The same for videos: (count, frames, 1, cells, cells)."""
    key = f"video-things-{seed}-{count}-{size}-{cells}-{frames}-{toybox_hash()}"

    def masks(scene: Scene) -> np.ndarray:
        return np.stack([_touched(thing_mask(scene, size, i, frames), cells)[None] for i in range(frames)])

    return torch.from_numpy(cached(cache_dir, key, count, lambda: (masks(sample(seed, i)) for i in range(count))))


def _touched(mask: np.ndarray, cells: int) -> np.ndarray:
    """Pixels (H, W) to cells (cells, cells): 1 where more than a twentieth of the cell is covered."""
    side = len(mask) // cells
    return (mask.reshape(cells, side, cells, side).mean(axis=(1, 3)) > 0.05).astype(np.float16)


def cached(cache_dir: str | Path, key: str, count: int, make: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """The ``count`` arrays that ``make()`` yields, stacked: read from ``cache_dir``, or made and written there."""
    path = Path(cache_dir) / f"{key}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"writing-{os.getpid()}-{path.name}")
        _write(aside, tqdm(make(), total=count, desc=f"making {key.rpartition('-')[0]}", mininterval=5), count)
        os.replace(aside, path)
    return np.load(path, mmap_mode="c")  # copy-on-write: torch refuses read-only arrays


def write_component(folder: Path, save: Callable[[Path], object]) -> None:
    """``save`` into a folder beside ``folder``, then put it in its place: a cut leaves the old one whole."""
    aside = folder.with_name(f"writing-{os.getpid()}-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    save(aside)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)


def toybox_hash() -> str:
    """Short hash of the code that draws Toybox: a pool made by other code is not reused."""
    folder = Path(toybox.__file__).parent
    sources = [folder / "world.py", *sorted(folder.glob("draw*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]


def weights_hash(module: torch.nn.Module) -> str:
    """Short hash of a module's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]


def _write(path: Path, arrays: Iterable[np.ndarray], count: int) -> None:
    """Stack ``arrays`` into an .npy file one by one, so that a pool never has to fit in memory."""
    stacked = None
    for index, array in enumerate(arrays):
        if stacked is None:
            stacked = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=(count, *array.shape))
        stacked[index] = array
    if stacked is None:
        raise ValueError(f"a pool of {count} items: at least one is needed")
    stacked.flush()


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
