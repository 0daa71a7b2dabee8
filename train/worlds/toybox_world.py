"""Toybox as a world: endless streams of scenes, captions made from attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data import toybox
from data.toybox import dialogues
from data.toybox.draw import render_image, render_video, thing_mask
from data.toybox.grammar import TAG_WORDS, tag_caption
from data.toybox.parsing import names
from data.toybox.points import render_points
from data.toybox.sound import render_audio
from data.toybox.world import VALUES, Scene, sample, visible
from train.worlds.base import ENDLESS, Keep


@dataclass(frozen=True)
class ToyboxStream:
    """Item i shows ``sample(seed, i)``."""

    modality: str
    seed: int

    def __len__(self) -> int:
        return ENDLESS

    @property
    def key(self) -> str:
        return toybox_hash()

    def scene(self, index: int) -> Scene:
        """The truth of item ``index``."""
        return sample(self.seed, index)

    def medium(self, index: int, size: int = 64) -> np.ndarray:
        scene = self.scene(index)
        if self.modality == "image":
            return render_image(scene, size)
        if self.modality == "video":
            return render_video(scene, size=size)
        return render_audio(scene) if self.modality == "audio" else render_points(scene)

    def mask(self, index: int, size: int, frame: int | None = None, frames: int = 8) -> np.ndarray:
        return thing_mask(self.scene(index), size, frame, frames)

    def attributes(self, index: int) -> dict[str, Any]:
        return visible(self.scene(index), self.modality)

    def caption(self, index: int, keep: Keep | None = None) -> str:
        attributes = self.attributes(index)
        return tag_caption(attributes if keep is None else keep(attributes))


class ToyboxWorld:
    """The embedded world. What is held out is a matter of seeds: streams of different seeds share no scene."""

    caption_words: tuple[str, ...] = TAG_WORDS
    readings: dict[str, tuple] = VALUES
    names = names()

    def stream(self, modality: str, seed: int, held_out: bool = False, variations: int = 1) -> ToyboxStream:
        return ToyboxStream(modality, seed)

    def told(self, seed: int, index: int, keep: float, held_out: bool = False) -> tuple[str, dict[str, Any]]:
        rng = np.random.default_rng((seed, index))
        named = {n: v[rng.integers(len(v))] for n, v in VALUES.items() if n == "thing" or rng.random() < keep}
        return tag_caption(named), named

    def conversations(self, held_out: bool = False) -> int:
        return ENDLESS

    def conversation(self, seed: int, index: int, held_out: bool = False) -> list[dict[str, str]]:
        rng = np.random.default_rng((seed, index, 1))
        return [
            {"role": role, "content": "".join(part for part in parts if isinstance(part, str)).strip()}
            for role, parts in dialogues.text_only(dialogues.dialogue(seed, index), rng)
        ]

    def corpus(self, count: int) -> Iterator[str]:
        return dialogues.vocabulary_corpus(count)


@cache
def toybox_hash() -> str:
    """Short hash of the code that draws Toybox: a pool made by other code is not reused."""
    folder = Path(toybox.__file__).parent
    sources = [folder / "world.py", *sorted(folder.glob("draw*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]
