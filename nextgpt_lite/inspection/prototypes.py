"""Images of the visual cache's prototypes. A cache holds embeddings only; those of Toybox are rendered again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapters.visual_cache import VisualCache
from data.toybox import phrase, render, sample, visible

_TOYBOX = "toybox/"


def toybox_source(seed: int) -> str:
    """What a cache notes as its ``source`` when prototype i is the image of ``sample(seed, i)``."""
    return f"{_TOYBOX}{seed}"


def pictures(cache: VisualCache, indices: Sequence[int], size: int = 96) -> list[np.ndarray] | None:
    """Images (size, size, 3) uint8 of prototypes; None where the cache does not say what they are of."""
    seed = _seed(cache)
    return None if seed is None else [render(sample(seed, index), "image", size) for index in indices]


def names(cache: VisualCache, indices: Sequence[int], language: str = "en") -> list[str]:
    """What prototypes are of, in words of ``language`` ("en" or "zh"); their numbers where the cache does not say."""
    seed = _seed(cache)
    if seed is None:
        return [f"#{index}" for index in indices]
    scenes = [visible(sample(seed, index), "image") for index in indices]
    return [phrase({name: scene[name] for name in ("thing", "colour")}, language=language) for scene in scenes]


def _seed(cache: VisualCache) -> int | None:
    source = cache.source or ""
    seed = source.removeprefix(_TOYBOX)
    return int(seed) if source.startswith(_TOYBOX) and seed.isdigit() else None
