"""Manifests as a world: their captions and ``meta`` say what the media show, their conversations what is said.

A medium of the assistant has a caption. One of a user's may have one (``"caption"`` of its part); where it has none,
the assistant's answer is its caption if nothing else was shown and nothing made. ``meta.attributes`` of a record, say
``{"digit": "seven"}``, hold of all its media. Every twentieth medium and conversation is held out for evaluation.
"""

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
from train.worlds.base import Keep, MediaStream, World
from train.worlds.media_files import decode_files, files_hash, to_float, varied

HELD_OUT_SHARE = 0.05
#: The most words that are one token each to the decoders' text encoders, and how many of a caption are read back.
MAX_WORDS, MAX_READ = 2000, 8
WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Item:
    """A medium of a manifest and what is known of it."""

    path: Path
    caption: str
    attributes: dict[str, str] = field(default_factory=dict)


class ManifestStream(MediaStream):
    """The items of one modality, shuffled; then varied copies of them, round after round."""

    def __init__(self, modality: str, items: list[Item], seed: int, variations: int = 1) -> None:
        order = np.random.default_rng(seed).permutation(len(items))
        self.modality, self.seed, self.variations = modality, seed, variations
        self.items = [items[i] for i in order]
        self._rows = {path: row for row, path in enumerate(sorted({item.path for item in items}))}
        self._decoded: dict[int, np.ndarray] = {}  # the files in the image size of the last call

    def __len__(self) -> int:
        return len(self.items) * self.variations

    @property
    def key(self) -> str:
        known = [f"{item.path.name} {item.caption} {item.attributes}" for item in self.items]
        return hashlib.sha256("\n".join([files_hash(self._rows), *known]).encode()).hexdigest()[:10]

    def item(self, index: int) -> Item:
        """What item ``index`` is made from; IndexError beyond the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.modality} {index} of {len(self)}")
        return self.items[index % len(self.items)]

    def medium(self, index: int, size: int = 64) -> np.ndarray:
        size = size if self.modality in ("image", "video") else 0
        if size not in self._decoded:
            self._decoded = {size: decode_files(self.modality, list(self._rows), size)}
        row = self._decoded[size][self._rows[self.item(index).path]]
        medium = to_float(row) if self.modality == "audio" else np.asarray(row)
        first_round = index < len(self.items)
        return medium if first_round else varied(self.modality, medium, np.random.default_rng((self.seed, index)))

    def mask(self, index: int, size: int, frame: int | None = None, frames: int = 8) -> np.ndarray:
        return np.ones((size, size), np.float32)

    def attributes(self, index: int) -> dict[str, Any]:
        return self.item(index).attributes

    def caption(self, index: int, keep: Keep | None = None) -> str:
        return self.item(index).caption


class ManifestWorld(World):
    """All records of some manifests. FormatError where one cannot be read, RecipeError where nothing is in them."""

    def __init__(self, paths: list[Path]) -> None:
        self.records = [record for path in paths for record in read_manifest(path)]
        if not self.records:
            raise RecipeError(f"{', '.join(map(str, paths))}: no records to train on")
        self.items = items_of(self.records)
        items = [item for each in self.items.values() for item in each]
        pairs = sorted({pair for item in items for pair in item.attributes.items()})
        #: Every attribute of any item and its values, in order.
        self.attributes = {name: tuple(value for key, value in pairs if key == name) for name, _ in pairs}
        replies = [m["content"] for record in self.records for m in record["messages"] if m["role"] == "assistant"]
        made = {part["caption"] for content in replies for part in content if part["type"] != "text"}
        #: All captions that a decoder is given, each once, in order.
        self.captions = sorted(made or {item.caption for item in items})
        counts = Counter(word for caption in self.captions for word in words(caption))
        self.caption_words = tuple(sorted(word for word, _ in counts.most_common(MAX_WORDS)))
        self.readings = _readings(self.captions, frozenset(self.caption_words))
        self.names = {}  # values are words already
        held_out = held_out_of(map(str, range(len(self.records))))
        self._split: dict[bool, list[Record]] = {False: [], True: []}
        for number, record in enumerate(self.records):
            self._split[str(number) in held_out].append(record)
        self._orders: dict[tuple[int, bool], np.ndarray] = {}  # of conversations

    def stream(self, modality: str, seed: int, held_out: bool = False, variations: int = 1) -> ManifestStream:
        names = held_out_of(item.path.name for item in self.items[modality])
        items = [item for item in self.items[modality] if (item.path.name in names) == held_out]
        return ManifestStream(modality, items, seed, variations)

    def random_caption(self, seed: int, index: int, keep: float) -> tuple[str, dict[str, Any]]:
        rng = np.random.default_rng((seed, index))
        caption = self.captions[int(rng.integers(len(self.captions)))]
        read = {f"word {i}": word for i, word in enumerate(words(caption)[:MAX_READ], start=1)}
        return caption, {name: word for name, word in read.items() if word in self.readings.get(name, ())}

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
            yield from (message["content"] for message in in_words(record))
        yield from self.captions


def _readings(captions: list[str], known: frozenset[str]) -> dict[str, tuple]:
    """The known words at each of the first positions of captions: "word 1" -> words."""
    rows = [words(caption)[:MAX_READ] for caption in captions]
    positions = range(max(map(len, rows), default=0))
    return {f"word {i + 1}": tuple(sorted({row[i] for row in rows if i < len(row)} & known)) for i in positions}


def items_of(records: Iterable[Record]) -> dict[str, list[Item]]:
    """The items of each modality. What several records say of a medium under one caption comes together.

    RecipeError where ``meta.attributes`` are no mapping.
    """
    found: dict[tuple[str, Path, str], Item] = {}
    for record in records:
        attributes = record["meta"].get("attributes", {})
        if not isinstance(attributes, dict):
            raise RecipeError(f"meta.attributes must map names to values, not {attributes!r}")
        for modality, path, caption in _captioned(record["messages"]):
            item = found.setdefault((modality, path, caption), Item(path, caption))
            item.attributes.update({str(name): str(value) for name, value in attributes.items()})
    return {modality: [item for (kind, _, _), item in found.items() if kind == modality] for modality in MODALITIES}


def _captioned(messages: list[dict[str, Any]]) -> Iterator[tuple[str, Path, str]]:
    """(modality, file, caption) of each medium that has a file and a caption."""
    for number, message in enumerate(messages):
        for part in message["content"]:
            caption = part["type"] != "text" and (part.get("caption") or _answer(messages, number))
            if caption and part.get("path"):
                yield part["type"], Path(part["path"]), caption


def _answer(messages: list[dict[str, Any]], number: int) -> str:
    """What the assistant says of the one medium of message ``number``; "" where it is not about that alone."""
    own = [part for part in messages[number]["content"] if part["type"] != "text"]
    if number + 1 == len(messages) or len(own) > 1 or number > 1:
        return ""
    reply = messages[number + 1]["content"]
    return "" if any(part["type"] != "text" for part in reply) else " ".join(part["text"] for part in reply).strip()


def in_words(record: Record) -> list[dict[str, str]]:
    """A record's messages in words alone: a user's medium becomes its caption in brackets, the assistant's goes."""
    messages = []
    for number, message in enumerate(record["messages"]):
        texts = []
        for part in message["content"]:
            if part["type"] == "text":
                texts.append(part["text"])
            elif message["role"] == "user":
                caption = part.get("caption") or _answer(record["messages"], number)
                texts.append(f"[{part['type']}: {caption}]" if caption else f"[{part['type']}]")
        messages.append({"role": message["role"], "content": " ".join(texts).strip()})
    return messages


def held_out_of(names: Iterable[str]) -> frozenset[str]:
    """A twentieth of the names, the same whatever their order; at least one where there are two."""
    ordered = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    return frozenset(ordered[: max(len(ordered) > 1, round(HELD_OUT_SHARE * len(ordered)))])


def words(caption: str) -> list[str]:
    """The words of a caption in lower case."""
    return WORD.findall(caption.lower())
