"""The components that runs have made become a model folder: decoders share a VAE, and a manifest names all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from data.atomic import atomic_folder
from nextgpt_lite.checkpoint import component_names, write_manifest

if TYPE_CHECKING:
    from train.build import Build, BuildFile, Cache

CACHE_SEED = 41


def assemble(build: Build, name: str, target: Path | None) -> None:
    """Make the model of what the runs have made: where it is, or as a copy in the place of ``target``, atomically."""
    if target is None:
        finish(build.model, name, build.file)
        return
    with atomic_folder(target) as folder:
        for component in component_names():
            if (build.model / component).is_dir():
                shutil.copytree(build.model / component, folder / component)
        finish(folder, target.name, build.file)


def finish(folder: Path, name: str, file: BuildFile) -> None:
    """Make a model of the components in ``folder``, where they are."""
    if (folder / "video_decoder").is_dir():  # the image VAE may have been sharpened since the video decoder took a copy
        shutil.rmtree(folder / "video_decoder" / "vae", ignore_errors=True)
        shutil.copytree(folder / "image_decoder" / "vae", folder / "video_decoder" / "vae")
    if file.cache is not None:
        build_cache(folder, file.cache)
    write_manifest(folder, name, file.candidates)
    files = [path for component in component_names() for path in (folder / component).rglob("*") if path.is_file()]
    print(f"{folder}: {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


@torch.no_grad()
def build_cache(folder: Path, settings: Cache) -> None:
    """The visual cache: image prototypes of Toybox scenes."""
    from adapters.visual_cache import VisualCache
    from data.toybox import render, sample
    from encoders import load_encoder
    from nextgpt_lite.inspection.examples import toybox_source

    encoder = load_encoder(folder / "encoder")
    embedded = []
    for start in range(0, settings.prototypes, 64):
        indices = range(start, min(start + 64, settings.prototypes))
        images = [encoder.preprocess("image", render(sample(CACHE_SEED, index), "image")) for index in indices]
        embedded.append(encoder.embed("image", torch.stack(images)))
    cache = VisualCache(torch.cat(embedded), blend=settings.blend, source=toybox_source(CACHE_SEED))
    cache.save(folder / "cache", str(encoder.identity))
