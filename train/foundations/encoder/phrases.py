"""What the encoder's text tower reads: what Toybox's grammar, or a manifest, says of a medium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from data.toybox import world
from data.toybox.language.grammar import phrase
from train.foundations.encoder.media_pools import ATTRIBUTES, UNKNOWN, ContrastStream, Stream, encode_attributes
from train.worlds import ManifestWorld
from train.worlds.manifest_world import ManifestStream

UNKNOWN_PHRASES = {
    "en": ("something unknown", "something I do not know", "an unknown thing"),
    "zh": ("我不认识的东西", "未知的东西", "不认识的东西"),
}
TOKENIZER_SEED = 32
CHINESE_SHARE = 0.25
#: Of media that no training uses.
PROBE_SEED = 977
#: Stands among attributes for the caption itself, where a manifest knows no attributes.
CAPTION = "caption"


class ContrastWords(Protocol):
    """The words of a world. ``attributes`` (name -> values) have phrases, and may be none; ``told_apart`` are those by
    which a text fits a medium or does not.
    """

    attributes: dict[str, tuple]
    told_apart: dict[str, tuple]
    languages: tuple[str, ...]

    def texts(self) -> Iterator[str]:
        """What the tokenizer is trained on."""
        ...

    def phrases(self, language: str) -> list[str]:
        """One phrase for each value of each attribute."""
        ...

    def describe(
        self, modality: str, row: int, shown: dict[str, Any], rng: np.random.Generator
    ) -> tuple[str, dict[str, Any]]:
        """A text about medium ``row`` of the training stream, which shows ``shown``; and the attributes it names."""
        ...

    def training(self, modality: str, count: int) -> ContrastStream:
        """At most ``count`` media to train on."""
        ...

    def tests(self, modality: str, count: int) -> dict[str, ContrastStream]:
        """Media that training never sees, by the name of their figures."""
        ...


class ToyboxWords:
    """Phrases of scenes in two languages; every ``outsider_every``-th medium is from outside the world."""

    attributes = told_apart = ATTRIBUTES
    languages = tuple(UNKNOWN_PHRASES)

    def __init__(self, seed: int, outsider_every: int) -> None:
        self.seed, self.outsider_every = seed, outsider_every

    def texts(self) -> Iterator[str]:
        return tokenizer_texts()

    def phrases(self, language: str) -> list[str]:
        return attribute_phrases(language)

    def describe(
        self, modality: str, row: int, shown: dict[str, Any], rng: np.random.Generator
    ) -> tuple[str, dict[str, Any]]:
        named = partial_attributes(shown, rng)
        language = "zh" if rng.random() < CHINESE_SHARE else "en"
        return caption(named, modality, language, rng), named

    def training(self, modality: str, count: int) -> ContrastStream:
        return Stream(modality, self.seed, count, "train", self.outsider_every)

    def tests(self, modality: str, count: int) -> dict[str, ContrastStream]:
        return {
            modality: Stream(modality, PROBE_SEED, count, "all"),
            f"{modality}.held_out_pairs": Stream(modality, PROBE_SEED, count // 2, "held_out"),
            f"{modality}.outsiders": Stream(modality, PROBE_SEED, count // 2, "all", outsider_every=1),
        }


class ManifestWords:
    """Captions of a manifest, and the values of its attributes as phrases."""

    languages = ("en",)

    def __init__(self, manifest: ManifestWorld, seed: int, variations: int, size: int) -> None:
        self.manifest, self.seed, self.variations, self.size = manifest, seed, variations, size
        captions = tuple(sorted({item.caption for items in manifest.items.values() for item in items}))
        self.attributes = manifest.attributes
        # Where nothing but captions is known, two media are alike if their captions are.
        self.told_apart = manifest.attributes or {CAPTION: captions}
        self.captions, self._streams = captions, {}

    def texts(self) -> Iterator[str]:
        yield from self.captions
        yield from self.phrases("en")

    def phrases(self, language: str) -> list[str]:
        return [f"{name} {value}" for name, values in self.attributes.items() for value in values]

    def describe(
        self, modality: str, row: int, shown: dict[str, Any], rng: np.random.Generator
    ) -> tuple[str, dict[str, Any]]:
        if modality not in self._streams:
            self._streams[modality] = self.manifest.stream(modality, self.seed, variations=self.variations)
        return self._streams[modality].caption(row), shown

    def training(self, modality: str, count: int) -> ContrastStream:
        stream = self.manifest.stream(modality, self.seed, variations=self.variations)
        return ManifestMedia(stream, count, self.told_apart, self.size)

    def tests(self, modality: str, count: int) -> dict[str, ContrastStream]:
        stream = self.manifest.stream(modality, PROBE_SEED, held_out=True)
        return {modality: ManifestMedia(stream, count, self.told_apart, self.size)}


class ManifestMedia:
    """At most ``most`` media of a manifest; ``told_apart`` are the attributes that their codes are of."""

    def __init__(self, stream: ManifestStream, most: int, told_apart: dict[str, tuple], size: int) -> None:
        self.stream, self.told_apart, self.size = stream, told_apart, size
        self.modality, self.count = stream.modality, min(most, len(stream))

    @property
    def key(self) -> str:
        return f"{self.modality}-{self.stream.seed}-{self.stream.variations}-{self.count}-{self.stream.key}"

    def raw(self, index: int) -> np.ndarray:
        return self.stream.medium(index, self.size)

    def codes(self) -> np.ndarray:
        return np.stack([encode_attributes(self._shown(index), self.told_apart) for index in range(self.count)])

    def _shown(self, index: int) -> dict[str, Any]:
        return {CAPTION: self.stream.caption(index)} if CAPTION in self.told_apart else self.stream.attributes(index)


def unknown_phrase(language: str, rng: np.random.Generator) -> str:
    """A paraphrase of "something unknown"."""
    return UNKNOWN_PHRASES[language][int(rng.integers(len(UNKNOWN_PHRASES[language])))]


def partial_attributes(attributes: dict, rng: np.random.Generator) -> dict:
    """All attributes in half of the cases, else a random part; how many there are is always said."""
    if rng.random() < 0.5:
        return attributes
    kept = {name: value for name, value in attributes.items() if rng.random() < 0.5 or name == "count"}
    return kept if set(kept) - {"count"} else attributes


def caption(attributes: dict, modality: str, language: str, rng: np.random.Generator) -> str:
    """A paraphrase that names exactly ``attributes``."""
    if attributes["thing" if "thing" in attributes else next(iter(attributes))] == UNKNOWN:
        return unknown_phrase(language, rng)
    return phrase(attributes, modality, language, rng)


def tokenizer_texts(count: int = 12_000):
    """Phrases of random scenes in both languages, for the tokenizer."""
    for index in range(count):
        rng = np.random.default_rng((TOKENIZER_SEED, index))
        modality = world.MODALITIES[index % len(world.MODALITIES)]
        attributes = world.visible(world.random_scene(rng), modality)
        yield caption(partial_attributes(attributes, rng), modality, "zh" if index % 3 == 0 else "en", rng)
    for phrases in UNKNOWN_PHRASES.values():
        yield from phrases


def attribute_phrases(language: str) -> list[str]:
    """One canonical phrase for each value of each attribute, in the order of ``ATTRIBUTES``."""
    return [
        UNKNOWN_PHRASES[language][0] if value == UNKNOWN else phrase({name: value}, None, language)
        for name, values in ATTRIBUTES.items()
        for value in values
    ]


def recolour(medium: np.ndarray, shown: dict, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """A picture or clips in colours that no word fits: what is left to tell a thing by is its shape.

    ``medium`` is uint8 (3, H, W) or (S, 3, 2, H, W); colour and background leave the attributes.
    """
    axis = 0 if medium.ndim == 3 else 1
    turned = np.take(medium, rng.permutation(3), axis=axis)
    turned = 255 - turned if rng.random() < 0.4 else turned
    return turned, {name: value for name, value in shown.items() if name not in ("colour", "background")}
