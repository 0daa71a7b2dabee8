"""The world of things: endless streams of scenes of about 500 named things.

Its captions are free English, read by a pretrained text encoder: no word has to be one token, and none is read back.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data import things
from train.worlds.base import ENDLESS, Keep, MediaStream, World


@dataclass(frozen=True)
class ThingsStream(MediaStream):
    """Item i shows ``things.sample(seed, i)``; held out are the things that training never sees."""

    modality: str
    seed: int

    def __len__(self) -> int:
        return ENDLESS if self.modality == "image" else 0

    @property
    def key(self) -> str:
        return _source_hash()[:10]

    def scene(self, index: int) -> things.Scene:
        """The ground truth of item ``index``."""
        return things.sample(self.seed, index)

    def medium(self, index: int, size: int = 128) -> np.ndarray:
        return things.render_image(self.scene(index), size)

    def mask(self, index: int, size: int, frame: int | None = None, frames: int = 8) -> np.ndarray:
        return things.thing_mask(self.scene(index), size)

    def attributes(self, index: int) -> dict[str, Any]:
        return {}

    def caption(self, index: int, keep: Keep | None = None) -> str:
        return things.caption(self.scene(index))


class ThingsWorld(World):
    """Scenes of things. What is held out is a matter of seeds: streams of different seeds share no scene."""

    caption_words = ()
    readings = {}
    names = {}

    def stream(self, modality: str, seed: int, held_out: bool = False, variations: int = 1) -> ThingsStream:
        return ThingsStream(modality, seed)

    def random_caption(self, seed: int, index: int, keep: float) -> tuple[str, dict[str, Any]]:
        return things.caption(things.sample(seed, index)), {}

    def conversations(self, held_out: bool = False) -> int:
        return 0

    def conversation(self, seed: int, index: int, held_out: bool = False) -> list[dict[str, str]]:
        raise IndexError("the world of things has no conversations in words alone")

    def corpus(self, count: int) -> Iterator[str]:
        return (things.caption(things.sample(0, index)) for index in range(count))


@cache
def _source_hash() -> str:
    """SHA-256 of the code, tables and sheets that make the world: pools of its media are made anew when they change."""
    folder = Path(things.__file__).parent
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".yaml", ".webp"))
    files = [path for path in files if "dialogues" not in path.parts]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
