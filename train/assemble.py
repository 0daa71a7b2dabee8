"""The components that runs have made become a model folder: decoders share a VAE, and a manifest names all."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from data.atomic import atomic_folder
from nextgpt_lite.checkpoint import component_names, write_manifest

CACHE_SEED = 41


def finish(folder: Path, name: str, cache: tuple[int, float] | None, candidates: Mapping[str, int]) -> None:
    """Make a model of the components in ``folder``, where they are.

    ``cache``: prototypes and blend of its visual cache, none where it is None. ``candidates`` as in its manifest.
    """
    share_vae(folder)
    if cache is not None:
        build_cache(folder, *cache)
    write_manifest(folder, name, dict(candidates))
    print(f"{folder}: {size_of(folder, component_names()) / 1e6:.1f} MB")


def install(build: Path, target: Path, cache: tuple[int, float] | None, candidates: Mapping[str, int]) -> None:
    """Put the components of ``build`` as a model in the place of ``target``, atomically."""
    with atomic_folder(target) as folder:
        for name in component_names():
            if (build / name).is_dir():
                shutil.copytree(build / name, folder / name)
        finish(folder, target.name, cache, candidates)


def share_vae(folder: Path) -> None:
    """The image VAE may have been sharpened after the video foundation took its copy: both decode the same latents."""
    if (folder / "video_decoder").is_dir():
        shutil.rmtree(folder / "video_decoder" / "vae", ignore_errors=True)
        shutil.copytree(folder / "image_decoder" / "vae", folder / "video_decoder" / "vae")


@torch.no_grad()
def build_cache(folder: Path, prototypes: int, blend: float) -> None:
    """Image prototypes of Toybox scenes for the visual cache."""
    from adapters.visual_cache import VisualCache
    from data.toybox import render, sample
    from encoders import load_encoder
    from nextgpt_lite.inspection.prototypes import toybox_source

    encoder = load_encoder(folder / "encoder")
    embedded = []
    for start in range(0, prototypes, 64):
        images = [render(sample(CACHE_SEED, i), "image") for i in range(start, min(start + 64, prototypes))]
        embedded.append(encoder.embed("image", torch.stack([encoder.preprocess("image", image) for image in images])))
    cache = VisualCache(torch.cat(embedded), blend=blend, source=toybox_source(CACHE_SEED))
    cache.save(folder / "cache", str(encoder.identity))


def size_of(folder: Path, components: Iterable[str]) -> int:
    """Bytes of the components of a model folder."""
    files = (path for name in components for path in (folder / name).rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())
