"""Manifests as a world: what their media show, say their captions and ``meta``; what is said, their conversations.

A medium of the assistant has a caption. One of a user's may have one (``"caption"`` of its part); where it has none,
what the assistant answers is its caption if nothing else was shown and nothing made. ``meta.attributes`` of a record,
say ``{"digit": "seven"}``, hold of all its media. Every twentieth medium and conversation is held out for figures.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.manifest import Record, read_manifest
from data.modalities import MODALITIES
from train.recipe import RecipeError
from train.worlds.base import Keep
from train.worlds.decoded import decoded, files_hash, sound
from train.worlds.variations import varied

HELD_OUT_SHARE = 0.05
#: The most words that are one token each to the decoders' text encoders, and places of words that are read back.
MOST_WORDS, PLACES = 2000, 8
WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Item:
    """A medium of a manifest and what is known of it."""

    path: Path
    caption: str
    attributes: dict[str, str] = field(default_factory=dict)


class ManifestStream:
    """The items of one modality, shuffled; then varied copies of them, round after round."""

    def __init__(self, modality: str, items: list[Item], seed: int, variations: int = 1) -> None:
        order = np.random.default_rng(seed).permutation(len(items))
        self.modality, self.seed, self.variations = modality, seed, variations
        self.items = [items[i] for i in order]

    def __len__(self) -> int:
        return len(self.items) * self.variations

    @property
    def key(self) -> str:
        told = [f"{item.path.name} {item.caption} {item.attributes}" for item in self.items]
        digest = hashlib.sha256("\n".join([files_hash(self._files), *told]).encode())
        return digest.hexdigest()[:10]

    @property
    def _files(self) -> list[Path]:
        return sorted({item.path for item in self.items})

    def item(self, index: int) -> Item:
        """What item ``index`` is made from; IndexError beyond the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.modality} {index} of {len(self)}")
        return self.items[index % len(self.items)]

    def medium(self, index: int, size: int = 64) -> np.ndarray:
        rows, media = self._decoded(size)
        row = media[rows[self.item(index).path]]
        medium = sound(row) if self.modality == "audio" else np.asarray(row)
        if index < len(self.items):
            return medium
        return varied(self.modality, medium, np.random.default_rng((self.seed, index)))

    def _decoded(self, size: int) -> tuple[dict[Path, int], np.ndarray]:
        """Row of each file, and the rows; kept for the size that was last asked for."""
        size = size if self.modality in ("image", "video") else 0
        if getattr(self, "_size", None) != size:
            rows = {path: row for row, path in enumerate(self._files)}
            self._size, self._media = size, (rows, decoded(self.modality, self._files, size))
        return self._media

    def mask(self, index: int, size: int, frame: int | None = None, frames: int = 8) -> np.ndarray:
        return np.ones((size, size), np.float32)

    def attributes(self, index: int) -> dict[str, Any]:
        return self.item(index).attributes

    def caption(self, index: int, keep: Keep | None = None) -> str:
        return self.item(index).caption


class ManifestWorld:
    """All records of some manifests. FormatError where one cannot be read, RecipeError where nothing is in them."""

    def __init__(self, paths: list[Path]) -> None:
        self.records = [record for path in paths for record in read_manifest(path)]
        if not self.records:
            raise RecipeError(f"{', '.join(map(str, paths))}: no records to train on")
        self._orders: dict[tuple[int, bool], np.ndarray] = {}  # of conversations
        self.items = items_of(self.records)
        self.attributes = attributes_of(item for items in self.items.values() for item in items)
        made = {part["caption"] for record in self.records for part in _media_of(record, "assistant")}
        #: All captions that a decoder is given, each once, in order.
        self.captions = sorted(made or {item.caption for items in self.items.values() for item in items})
        self.caption_words = caption_words(self.captions)
        self.readings = readings(self.captions, frozenset(self.caption_words))
        self.names: dict[str, dict[Any, tuple[str, ...]]] = {}  # values are words already
        self._split = split(self.records)

    def stream(self, modality: str, seed: int, held_out: bool = False, variations: int = 1) -> ManifestStream:
        kept = held_out_of(item.path.name for item in self.items[modality])
        items = [item for item in self.items[modality] if (item.path.name in kept) == held_out]
        return ManifestStream(modality, items, seed, variations)

    def random_caption(self, seed: int, index: int, keep: float, held_out: bool = False) -> tuple[str, dict[str, Any]]:
        rng = np.random.default_rng((seed, index))
        caption = self.captions[int(rng.integers(len(self.captions)))]
        read = {f"word {i}": word for i, word in enumerate(words(caption)[:PLACES], start=1)}
        return caption, {place: word for place, word in read.items() if word in self.readings.get(place, ())}

    def conversations(self, held_out: bool = False) -> int:
        return len(self._split[held_out])

    def conversation(self, seed: int, index: int, held_out: bool = False) -> list[dict[str, str]]:
        records = self._split[held_out]
        if (seed, held_out) not in self._orders:
            self._orders[seed, held_out] = np.random.default_rng(seed).permutation(len(records))
        return in_words(records[self._orders[seed, held_out][index % len(records)]])

    def corpus(self, count: int) -> Iterator[str]:
        records = self._split[False]
        for record in records[:: max(1, len(records) // count)]:  # manifests are often in order of what they show
            for message in in_words(record):
                yield message["content"]
        yield from self.captions


def attributes_of(items: Iterable[Item]) -> dict[str, tuple]:
    """Every attribute of any of the items and its values, in order."""
    pairs = {(name, value) for item in items for name, value in item.attributes.items()}
    return {name: tuple(sorted(v for n, v in pairs if n == name)) for name in sorted({n for n, _ in pairs})}


def caption_words(captions: list[str]) -> tuple[str, ...]:
    """The most frequent words of captions, in order."""
    counts = Counter(word for caption in captions for word in words(caption))
    return tuple(sorted(word for word, _ in counts.most_common(MOST_WORDS)))


def readings(captions: list[str], known: frozenset[str]) -> dict[str, tuple]:
    """The known words at each of the first places of captions: "word 1" -> words."""
    told = [words(caption)[:PLACES] for caption in captions]
    places = range(max(map(len, told), default=0))
    return {f"word {i + 1}": tuple(sorted({row[i] for row in told if i < len(row)} & known)) for i in places}


def split(records: list[Record]) -> tuple[list[Record], list[Record]]:
    """Records to train on, records held out."""
    held = held_out_of(map(str, range(len(records))))
    kept = [record for i, record in enumerate(records) if str(i) not in held]
    return kept, [record for i, record in enumerate(records) if str(i) in held]


def items_of(records: Iterable[Record]) -> dict[str, list[Item]]:
    """The items of each modality. What several records say of a medium under one caption comes together."""
    found: dict[tuple[str, Path, str], Item] = {}
    for record in records:
        for modality, item in _items(record):
            known = found.setdefault((modality, item.path, item.caption), item)
            known.attributes.update(item.attributes)
    return {modality: [item for (kind, _, _), item in found.items() if kind == modality] for modality in MODALITIES}


def _items(record: Record) -> Iterator[tuple[str, Item]]:
    """(modality, item) of each medium of a record that has a caption."""
    attributes = _attributes(record)
    for number, message in enumerate(record["messages"]):
        for part in message["content"]:
            if part["type"] != "text":
                caption = part.get("caption") or _answer(record["messages"], number)
                if caption:
                    yield part["type"], Item(Path(part["path"]), caption, dict(attributes))


def _attributes(record: Record) -> dict[str, str]:
    """``meta.attributes`` as text; RecipeError where they are no mapping."""
    given = record["meta"].get("attributes", {})
    if not isinstance(given, dict):
        raise RecipeError(f"meta.attributes must map names to values, not {given!r}")
    return {str(name): str(value) for name, value in given.items()}


def _answer(messages: list[dict[str, Any]], number: int) -> str:
    """What the assistant says of the one medium of message ``number``; "" where it is not about that alone."""
    own = [part for part in messages[number]["content"] if part["type"] != "text"]
    if number + 1 == len(messages) or len(own) > 1 or number > 1:
        return ""
    reply = messages[number + 1]["content"]
    return "" if any(part["type"] != "text" for part in reply) else " ".join(part["text"] for part in reply).strip()


def _media_of(record: Record, role: str) -> Iterator[dict[str, Any]]:
    for message in record["messages"]:
        if message["role"] == role:
            yield from (part for part in message["content"] if part["type"] != "text")


def in_words(record: Record) -> list[dict[str, str]]:
    """A record's messages in words alone: a user's medium is told in brackets, the assistant's is left out."""
    messages = []
    for number, message in enumerate(record["messages"]):
        told = []
        for part in message["content"]:
            if part["type"] == "text":
                told.append(part["text"])
            elif message["role"] == "user":
                shown = part.get("caption") or _answer(record["messages"], number)
                told.append(f"[{part['type']}: {shown}]" if shown else f"[{part['type']}]")
        messages.append({"role": message["role"], "content": " ".join(told).strip()})
    return messages


def held_out_of(names: Iterable[str]) -> frozenset[str]:
    """A twentieth of the names, the same whatever their order; at least one where there are two."""
    ordered = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    return frozenset(ordered[: max(len(ordered) > 1, round(HELD_OUT_SHARE * len(ordered)))])


def words(caption: str) -> list[str]:
    """The words of a caption in lower case."""
    return WORD.findall(caption.lower())
