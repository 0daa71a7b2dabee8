"""Toybox as a world: endless streams of scenes, captions made from attributes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data import toybox
from train.worlds.base import ENDLESS, Keep, MediaStream, World


@dataclass(frozen=True)
class ToyboxStream(MediaStream):
    """Item i shows ``sample(seed, i)``."""

    modality: str
    seed: int

    def __len__(self) -> int:
        return ENDLESS

    @property
    def key(self) -> str:
        return toybox.source_hash()[:10]

    def scene(self, index: int) -> toybox.Scene:
        """The ground truth of item ``index``."""
        return toybox.sample(self.seed, index)

    def medium(self, index: int, size: int = 64) -> np.ndarray:
        return toybox.render(self.scene(index), self.modality, size)

    def mask(self, index: int, size: int, frame: int | None = None, frames: int = 8) -> np.ndarray:
        return toybox.thing_mask(self.scene(index), size, frame, frames)

    def attributes(self, index: int) -> dict[str, Any]:
        return toybox.visible(self.scene(index), self.modality)

    def caption(self, index: int, keep: Keep | None = None) -> str:
        attributes = self.attributes(index)
        return toybox.tag_caption(attributes if keep is None else keep(attributes))


class ToyboxWorld(World):
    """The embedded world. What is held out is a matter of seeds: streams of different seeds share no scene."""

    caption_words = toybox.TAG_WORDS
    readings = toybox.VALUES
    names = toybox.attribute_words()

    def stream(self, modality: str, seed: int, held_out: bool = False, variations: int = 1) -> ToyboxStream:
        return ToyboxStream(modality, seed)

    def random_caption(self, seed: int, index: int, keep: float) -> tuple[str, dict[str, Any]]:
        rng = np.random.default_rng((seed, index))
        values = toybox.VALUES.items()
        named = {n: v[rng.integers(len(v))] for n, v in values if n == "thing" or rng.random() < keep}
        return toybox.tag_caption(named), named

    def conversations(self, held_out: bool = False) -> int:
        return ENDLESS

    def conversation(self, seed: int, index: int, held_out: bool = False) -> list[dict[str, str]]:
        rng = np.random.default_rng((seed, index, 1))
        return [
            {"role": role, "content": "".join(part for part in parts if isinstance(part, str)).strip()}
            for role, parts in toybox.text_only(toybox.dialogue(seed, index), rng)
        ]

    def corpus(self, count: int) -> Iterator[str]:
        return toybox.vocabulary_corpus(count)
