"""Embeddings on disk: each shard is written when it is made, so an interrupted start goes on, and read row by row.

A shard is named by what its rows depend on. Memory holds where rows are, not the rows: patch tokens of a few hundred
thousand images are more than any machine has.
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data.atomic import atomic_file
from train.dialogues.records import Medium, fingerprint

#: Media of a shard, and shards that are open at once.
SHARD, OPEN = 256, 64


class EmbeddingCache(Mapping[Medium, torch.Tensor]):
    """Embeddings (E,) of media, or their patch tokens (P, E), in a folder; ``settings`` say what made them."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder, self.settings = folder, settings
        self._places: dict[Medium, tuple[Path, str]] = {}
        self._opened: Any = lru_cache(OPEN)(lambda path: safe_open(path, "pt"))

    def path(self, media: list[Medium]) -> Path:
        """The shard of these media."""
        key = "\n".join((self.settings, *map(fingerprint, media)))
        return self.folder / f"embeddings-{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"

    def missing(self, media: list[Medium]) -> list[Medium]:
        """Those of a shard's media of which it has no row yet; of the others :meth:`__getitem__` knows by now."""
        path = self.path(media)
        if path.is_file():
            self._note(path, media, self._opened(path).keys())
        return [medium for medium in media if medium not in self]

    def add(self, media: list[Medium], rows: Mapping[Medium, torch.Tensor]) -> None:
        """Write rows of a shard's media beside those that it has."""
        path = self.path(media)
        known = load_file(path) if path.is_file() else {}
        known |= {str(n): rows[medium].contiguous() for n, medium in enumerate(media) if medium in rows}
        with atomic_file(path) as aside:
            save_file(known, aside)
        self._opened.cache_clear()  # of the file that was replaced
        self._note(path, media, known)

    def _note(self, path: Path, media: list[Medium], rows: Any) -> None:
        self._places |= {media[int(row)]: (path, row) for row in rows}

    def __getitem__(self, medium: Medium) -> torch.Tensor:
        path, row = self._places[medium]
        return self._opened(path).get_tensor(row)

    def __contains__(self, medium: object) -> bool:
        return medium in self._places

    def __iter__(self) -> Iterator[Medium]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
