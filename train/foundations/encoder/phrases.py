"""What the encoder is trained on: media of a world, Toybox's or a manifest's, their attributes and captions.

Media are preprocessed once and kept on disk. Both classes of phrases have the same members:

* ``attributes`` have phrases, and may be none; a text fits a medium by its ``matched_attributes``;
* ``languages``: each with its share;
* ``texts``: what the tokenizer is trained on; ``phrases``: one for each value of each attribute;
* ``describe``: a text about medium ``row`` of the training media, which shows ``shown``, and what the text names;
* ``training``: at most ``count`` media; ``tests``: media that training never sees, by the name of their figures.

Shapes: B media, A attributes, S clips, H x W pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from data import toybox
from encoders import MediaEncoder
from encoders.preprocessing.vision import ImageSettings
from train.embeddings.array_files import cached
from train.foundations.pools import content_hash
from train.worlds import ManifestWorld
from train.worlds.manifest_world import ManifestStream

#: Code of an attribute that a medium is not known to have.
ABSENT = -1
VIDEO_RATE = 4.0
#: Attribute -> its values.
Attributes = Mapping[str, tuple]


def encode_attributes(shown: Mapping[str, Any], known: Attributes) -> np.ndarray:
    """int64 (A,): the index of each ``known`` attribute's value, ABSENT for those that are not there."""
    return np.array([v.index(shown[name]) if name in shown else ABSENT for name, v in known.items()])


def decode_attributes(codes: np.ndarray, known: Attributes) -> dict[str, Any]:
    """The inverse of :func:`encode_attributes`."""
    pairs = zip(known.items(), codes, strict=True)
    return {name: values[code] for (name, values), code in pairs if code != ABSENT}


@dataclass(frozen=True)
class ContrastStream:
    """``count`` media to train an encoder on. ``key`` names the pool that is made of them."""

    modality: str
    count: int
    key: str
    attributes: Attributes
    #: A medium as files or renderers give it, by its index.
    raw: Callable[[int], np.ndarray]
    #: The attributes that it shows.
    shown: Callable[[int], Mapping[str, Any]]

    def codes(self) -> np.ndarray:
        """What each medium shows: int64 (count, A)."""
        return np.stack([encode_attributes(self.shown(index), self.attributes) for index in range(self.count)])


def pool(stream: ContrastStream, encoder: MediaEncoder, cache_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """(count, ...) stored media and (count, A) codes. Pixels are bytes, spectrograms half precision.

    The name of the file holds a hash of its first media, so that a changed renderer makes a new one.
    """

    def made(indices: Iterable[int]) -> Iterator[np.ndarray]:
        for index in indices:
            rate = VIDEO_RATE if stream.modality == "video" else None
            prepared = encoder.preprocess(stream.modality, stream.raw(index), rate)
            if stream.modality in ("image", "video"):
                mean, deviation = _statistics(prepared, encoder.config.image)
                prepared = ((prepared * deviation + mean) * 255).round().clamp(0, 255).byte()
            yield (prepared.half() if stream.modality == "audio" else prepared).numpy()

    digest = content_hash(made(range(min(24, stream.count))))
    return cached(cache_dir, f"{stream.key}-{digest}", stream.count, lambda: made(range(stream.count))), stream.codes()


def from_storage(
    modality: str, stored: torch.Tensor, encoder: MediaEncoder, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Stored media (B, ...) to what ``encoder.embed`` takes; with a generator, degraded as decoders would."""
    if modality in ("image", "video"):
        pixels = stored.float() / 255
        if generator is not None:
            pixels = degrade_pixels(pixels, generator)
        mean, deviation = _statistics(pixels, encoder.config.image)
        return (pixels - mean) / deviation
    if modality == "audio" and generator is not None:
        return degrade_spectrogram(stored.float(), generator)
    return stored.float()


def degrade_pixels(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, noise and a change of brightness for about half of (B, ..., H, W) in [0, 1], each medium its own."""
    shape = (len(pixels), *[1] * (pixels.ndim - 1))
    flat = pixels.flatten(0, -3)[:, None]  # (all, 1, H, W)
    blurred = torch.nn.functional.avg_pool2d(flat, 3, 1, 1, count_include_pad=False).view_as(pixels)
    amount = (torch.rand(shape, generator=generator) * 2 - 1).clamp_min(0)
    pixels = torch.lerp(pixels, blurred, amount)
    noise = torch.randn(pixels.shape, generator=generator)
    pixels = pixels + noise * 0.06 * (torch.rand(shape, generator=generator) * 2 - 1).clamp_min(0)
    return (pixels * (0.94 + 0.12 * torch.rand(shape, generator=generator))).clamp(0, 1)


def degrade_spectrogram(energies: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another loudness and, for about half of (B, S, 1, mels, frames), a noise floor; in normalised log energies."""
    shape = (len(energies), 1, 1, 1, 1)
    energies = energies + 0.3 * (torch.rand(shape, generator=generator) - 0.5)
    floor = -3 + 2.5 * torch.rand(shape, generator=generator)
    floor = floor + 0.15 * torch.randn(energies.shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < 0.5, torch.maximum(energies, floor), energies)


def _statistics(x: torch.Tensor, settings: ImageSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation in the shape of the channels of (..., 3, H, W) or, for clips, (..., 3, 2, H, W)."""
    shape = (3, 1, 1) if x.shape[-3] == 3 else (3, 1, 1, 1)
    return torch.tensor(settings.mean).view(shape), torch.tensor(settings.deviation).view(shape)


#: Seed of media that no training uses, and of the texts that the tokenizer is trained on.
PROBE_SEED, TOKENIZER_SEED = 977, 32
#: Stands among attributes for the caption itself, where a manifest knows no attributes.
CAPTION = "caption"
#: Value of the first attribute where a medium is out of distribution.
UNKNOWN = "unknown"
UNKNOWN_PHRASES = {
    "en": ("something unknown", "something I do not know", "an unknown thing"),
    "zh": ("我不认识的东西", "未知的东西", "不认识的东西"),
}
#: Attribute of Toybox -> values. The last "thing" is everything that the world does not hold.
ATTRIBUTES: dict[str, tuple] = toybox.VALUES | {"thing": (*toybox.THINGS, UNKNOWN)}
CHINESE_SHARE = 0.25


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

    def training(self, modality: str, count: int) -> ContrastStream:
        return self._media(self._training(modality), count)

    def tests(self, modality: str, count: int) -> dict[str, ContrastStream]:
        return {modality: self._media(self.manifest.stream(modality, PROBE_SEED, held_out=True), count)}

    def _media(self, stream: ManifestStream, most: int) -> ContrastStream:
        count = min(most, len(stream))
        key = f"{stream.modality}-{stream.seed}-{stream.variations}-{count}-{stream.key}"

        def shown(index: int) -> Mapping[str, Any]:
            return stream.attributes(index) if self.attributes else {CAPTION: stream.caption(index)}

        raw = partial(stream.medium, size=self.size)
        return ContrastStream(stream.modality, count, key, self.matched_attributes, raw, shown)


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

    def training(self, modality: str, count: int) -> ContrastStream:
        return toybox_media(modality, self.seed, count, "train", self.outsider_every)

    def tests(self, modality: str, count: int) -> dict[str, ContrastStream]:
        return {
            modality: toybox_media(modality, PROBE_SEED, count, "all"),
            f"{modality}.held_out_pairs": toybox_media(modality, PROBE_SEED, count // 2, "held_out"),
            f"{modality}.outsiders": toybox_media(modality, PROBE_SEED, count // 2, "all", outsider_every=1),
        }


ContrastPhrases = ToyboxPhrases | ManifestPhrases


def toybox_media(modality: str, seed: int, count: int, pairs: str = "train", outsider_every: int = 0) -> ContrastStream:
    """Media of the scenes of ``pairs`` from ``seed``; every ``outsider_every``-th is out of distribution (0 = none)."""

    def is_outside(index: int) -> bool:
        return outsider_every > 0 and index % outsider_every == outsider_every - 1

    def raw(index: int) -> np.ndarray:
        if is_outside(index):
            return toybox.out_of_distribution_medium(modality, seed, index)
        return toybox.render(toybox.sample(seed, index, pairs), modality)

    def shown(index: int) -> Mapping[str, Any]:
        if is_outside(index):
            return {"thing": UNKNOWN}
        return toybox.visible(toybox.sample(seed, index, pairs), modality)

    key = f"{modality}-{seed}-{pairs}-{outsider_every}-{count}"
    return ContrastStream(modality, count, key, ATTRIBUTES, raw, shown)


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


def recolour(medium: np.ndarray, shown: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """An image or clips in colours that no word fits, so that things are known by their shape.

    ``medium`` is uint8 (3, H, W) or (S, 3, 2, H, W); colour and background leave the attributes.
    """
    axis = 0 if medium.ndim == 3 else 1
    permuted = np.take(medium, rng.permutation(3), axis=axis)
    permuted = 255 - permuted if rng.random() < 0.4 else permuted
    return permuted, {name: value for name, value in shown.items() if name not in ("colour", "background")}
