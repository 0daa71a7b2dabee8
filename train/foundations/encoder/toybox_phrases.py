"""Toybox for the encoder's training: phrases of scenes in two languages, and media from outside the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data import toybox
from train.foundations.encoder.media_pools import encode_attributes
from train.foundations.encoder.phrases import PROBE_SEED, UNKNOWN

#: Attribute -> values. The last "thing" is everything that the world does not hold.
ATTRIBUTES: dict[str, tuple] = toybox.VALUES | {"thing": (*toybox.THINGS, UNKNOWN)}
UNKNOWN_PHRASES = {
    "en": ("something unknown", "something I do not know", "an unknown thing"),
    "zh": ("我不认识的东西", "未知的东西", "不认识的东西"),
}
TOKENIZER_SEED = 32
CHINESE_SHARE = 0.25


@dataclass(frozen=True)
class ToyboxMedia:
    """Media of the scenes of ``pairs`` from ``seed``; every ``outsider_every``-th is out of distribution (0 = none)."""

    modality: str
    seed: int
    count: int
    pairs: str = "train"
    outsider_every: int = 0

    @property
    def key(self) -> str:
        return f"{self.modality}-{self.seed}-{self.pairs}-{self.outsider_every}-{self.count}"

    def _is_outside(self, index: int) -> bool:
        return self.outsider_every > 0 and index % self.outsider_every == self.outsider_every - 1

    def raw(self, index: int) -> np.ndarray:
        """Medium ``index`` as the renderers give it."""
        if self._is_outside(index):
            return toybox.out_of_distribution_medium(self.modality, self.seed, index)
        return toybox.render(toybox.sample(self.seed, index, self.pairs), self.modality)

    def codes(self) -> np.ndarray:
        """int64 (count, A)."""
        return np.stack([encode_attributes(self._shown(index), ATTRIBUTES) for index in range(self.count)])

    def _shown(self, index: int) -> Mapping[str, Any]:
        if self._is_outside(index):
            return {"thing": UNKNOWN}
        return toybox.visible(toybox.sample(self.seed, index, self.pairs), self.modality)


class ToyboxPhrases:
    """Phrases of scenes in two languages; every ``outsider_every``-th medium is out of distribution."""

    attributes = matched_attributes = ATTRIBUTES
    languages = {"en": 1 - CHINESE_SHARE, "zh": CHINESE_SHARE}

    def __init__(self, seed: int, outsider_every: int) -> None:
        self.seed, self.outsider_every = seed, outsider_every

    def texts(self, count: int = 12_000) -> Iterator[str]:
        """Phrases of random scenes in both languages."""
        for index in range(count):
            rng = np.random.default_rng((TOKENIZER_SEED, index))
            modality = toybox.MODALITIES[index % len(toybox.MODALITIES)]
            attributes = toybox.visible(toybox.random_scene(rng), modality)
            yield caption(partial_attributes(attributes, rng), modality, "zh" if index % 3 == 0 else "en", rng)
        for phrases in UNKNOWN_PHRASES.values():
            yield from phrases

    def phrases(self, language: str) -> list[str]:
        return [
            UNKNOWN_PHRASES[language][0] if value == UNKNOWN else toybox.phrase({name: value}, None, language)
            for name, values in ATTRIBUTES.items()
            for value in values
        ]

    def describe(
        self, modality: str, row: int, shown: dict[str, Any], rng: np.random.Generator
    ) -> tuple[str, dict[str, Any]]:
        named = partial_attributes(shown, rng)
        language = "zh" if rng.random() < CHINESE_SHARE else "en"
        return caption(named, modality, language, rng), named

    def training(self, modality: str, count: int) -> ToyboxMedia:
        return ToyboxMedia(modality, self.seed, count, "train", self.outsider_every)

    def tests(self, modality: str, count: int) -> dict[str, ToyboxMedia]:
        return {
            modality: ToyboxMedia(modality, PROBE_SEED, count, "all"),
            f"{modality}.held_out_pairs": ToyboxMedia(modality, PROBE_SEED, count // 2, "held_out"),
            f"{modality}.outsiders": ToyboxMedia(modality, PROBE_SEED, count // 2, "all", outsider_every=1),
        }


def partial_attributes(attributes: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """All attributes in half of the cases, else a random part; how many there are is always said."""
    if rng.random() < 0.5:
        return attributes
    kept = {name: value for name, value in attributes.items() if rng.random() < 0.5 or name == "count"}
    return kept if set(kept) - {"count"} else attributes


def caption(attributes: dict[str, Any], modality: str, language: str, rng: np.random.Generator) -> str:
    """A paraphrase that names exactly ``attributes``."""
    if attributes["thing" if "thing" in attributes else next(iter(attributes))] == UNKNOWN:
        phrases = UNKNOWN_PHRASES[language]
        return phrases[int(rng.integers(len(phrases)))]
    return toybox.phrase(attributes, modality, language, rng)
