"""What the encoder's text tower reads: the captions and attributes of a world, Toybox's or a manifest's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from train.foundations.encoder.media_pools import Attributes, ContrastStream, encode_attributes
from train.worlds import ManifestWorld
from train.worlds.manifest_world import ManifestStream

#: Seed of media that no training uses.
PROBE_SEED = 977
#: Stands among attributes for the caption itself, where a manifest knows no attributes.
CAPTION = "caption"
#: Value of the first attribute where a medium is out of distribution.
UNKNOWN = "unknown"


class ContrastPhrases(Protocol):
    """The phrases of a world, and its media.

    * ``attributes`` have phrases, and may be none; a text fits a medium by its ``matched_attributes``;
    * ``languages``: each with its share;
    * ``texts``: what the tokenizer is trained on; ``phrases``: one for each value of each attribute;
    * ``describe``: a text about medium ``row`` of the training media, which shows ``shown``, and what the text names;
    * ``training``: at most ``count`` media; ``tests``: media that training never sees, by the name of their figures.
    """

    @property
    def attributes(self) -> Attributes: ...

    @property
    def matched_attributes(self) -> Attributes: ...

    @property
    def languages(self) -> Mapping[str, float]: ...

    def texts(self) -> Iterator[str]: ...

    def phrases(self, language: str) -> list[str]: ...

    def describe(
        self, modality: str, row: int, shown: dict[str, Any], rng: np.random.Generator
    ) -> tuple[str, dict[str, Any]]: ...

    def training(self, modality: str, count: int) -> ContrastStream: ...

    def tests(self, modality: str, count: int) -> Mapping[str, ContrastStream]: ...


class ManifestPhrases:
    """Captions of a manifest, and the values of its attributes as phrases."""

    languages = {"en": 1.0}

    def __init__(self, manifest: ManifestWorld, seed: int, variations: int, size: int) -> None:
        self.manifest, self.seed, self.variations, self.size = manifest, seed, variations, size
        self.captions = tuple(sorted({item.caption for items in manifest.items.values() for item in items}))
        self.attributes: Attributes = manifest.attributes
        # Where nothing but captions is known, two media are alike if their captions are.
        self.matched_attributes: Attributes = manifest.attributes or {CAPTION: self.captions}
        self._streams: dict[str, ManifestStream] = {}

    def texts(self) -> Iterator[str]:
        yield from self.captions
        yield from self.phrases("en")

    def phrases(self, language: str) -> list[str]:
        return [f"{name} {value}" for name, values in self.attributes.items() for value in values]

    def describe(
        self, modality: str, row: int, shown: dict[str, Any], rng: np.random.Generator
    ) -> tuple[str, dict[str, Any]]:
        return self._training(modality).caption(row), shown

    def _training(self, modality: str) -> ManifestStream:
        if modality not in self._streams:
            self._streams[modality] = self.manifest.stream(modality, self.seed, variations=self.variations)
        return self._streams[modality]

    def training(self, modality: str, count: int) -> ManifestMedia:
        return ManifestMedia(self._training(modality), count, self.matched_attributes, self.size)

    def tests(self, modality: str, count: int) -> dict[str, ManifestMedia]:
        stream = self.manifest.stream(modality, PROBE_SEED, held_out=True)
        return {modality: ManifestMedia(stream, count, self.matched_attributes, self.size)}


class ManifestMedia:
    """At most ``most`` media of a manifest; their codes are of ``attributes``."""

    def __init__(self, stream: ManifestStream, most: int, attributes: Attributes, size: int) -> None:
        self.stream, self.attributes, self.size = stream, attributes, size
        self.modality, self.count = stream.modality, min(most, len(stream))

    @property
    def key(self) -> str:
        return f"{self.modality}-{self.stream.seed}-{self.stream.variations}-{self.count}-{self.stream.key}"

    def raw(self, index: int) -> np.ndarray:
        return self.stream.medium(index, self.size)

    def codes(self) -> np.ndarray:
        return np.stack([encode_attributes(self._shown(index), self.attributes) for index in range(self.count)])

    def _shown(self, index: int) -> Mapping[str, Any]:
        return {CAPTION: self.stream.caption(index)} if CAPTION in self.attributes else self.stream.attributes(index)


def recolour(medium: np.ndarray, shown: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """An image or clips in colours that no word fits, so that things are known by their shape.

    ``medium`` is uint8 (3, H, W) or (S, 3, 2, H, W); colour and background leave the attributes.
    """
    axis = 0 if medium.ndim == 3 else 1
    permuted = np.take(medium, rng.permutation(3), axis=axis)
    permuted = 255 - permuted if rng.random() < 0.4 else permuted
    return permuted, {name: value for name, value in shown.items() if name not in ("colour", "background")}
