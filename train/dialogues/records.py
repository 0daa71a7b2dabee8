"""The setting ``data`` of a stage: which dialogues it learns from, and how they are mixed.

    data:
      - {path: llava/manifest.jsonl, weight: 2.0, held_out: 0.02}
      - {path: alpaca/manifest.jsonl, weight: 1.0}
      - {toybox: true, weight: 1.0}
      - {shards: "cc3m/*.tar", weight: 4.0, held_out: cc3m/held_out/manifest.jsonl}
      - {dataset: some/folder, columns: {image: picture, caption: text}, weight: 1.0}

Nothing, the default, is Toybox alone; a path alone is a manifest. Where archives or data sets of Hugging Face are among
them, all are read as streams.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.manifest import FormatError, Record
from data.mixture import RecordStream
from data.modalities import MODALITIES
from data.records import Located, scan_manifest
from data.shards import Shards
from data.toybox.dialogues.stream import Dialogue, MediaPart, dialogue, misdrawn
from train.dialogues.media import AT_START, FilePart
from train.recipe import RecipeError, nearest

TOYBOX = "toybox"
#: So many dialogues of Toybox are drawn for each that can be used, before it is said that there are none.
MOST_SKIPPED = 50
#: Share of a manifest that is kept for evaluate() where an entry does not say.
HELD_OUT_SHARE = 0.05


class Spoken(NamedTuple):
    """A dialogue ready to be encoded: messages whose media parts carry their reference as ``part``.

    ``kind`` is what its figures are counted under, ``where`` names its place, ``source`` its entry of ``data``;
    ``instruction`` tells joint training which of its groups it belongs to, None = by whether it holds media.
    """

    messages: list[dict[str, Any]]
    kind: str
    where: str
    source: str
    instruction: bool | None = None


@dataclass(frozen=True)
class Source:
    """One entry of ``data``. Every field is a key of it."""

    toybox: bool = False
    path: str = ""  #: of a manifest
    shards: str = ""  #: of tar archives, with * for many, see data.shards
    dataset: str = ""  #: of Hugging Face datasets, see data.hub_datasets
    split: str = "train"  #: of the dataset
    columns: dict[str, str] | None = None  #: of the dataset
    task: str = "tell"  #: what captions of shards and datasets are for: to "tell" of the media, or to "make" them
    weight: float | None = None  #: share of the training rows relative to the others; none anywhere = all rows once
    name: str = ""  #: what its figures are called; default: the manifest's folder
    held_out: str | float | None = None  #: for evaluate(): a manifest, or a share of this one
    instruction: bool | None = None  #: for joint training: instructions (true) or captions (false)
    embeddings: str = AT_START  #: media are embedded at the "start", in "steps", or were already, into this folder

    def __post_init__(self) -> None:
        if sum(map(bool, (self.toybox, self.path, self.shards, self.dataset))) != 1:
            raise RecipeError(f"an entry of data has one of toybox, path, shards and dataset, not {self.told()}")
        if self.streamed and isinstance(self.held_out, int | float):
            raise RecipeError(f"held_out of {self.told()}, which is a stream, must be a manifest, not {self.held_out}")
        if self.weight is not None and not (isinstance(self.weight, int | float) and self.weight > 0):
            raise RecipeError(f"the weight of {self.told()} must be above 0, not {self.weight!r}")
        if isinstance(self.held_out, int | float) and not 0 <= self.held_out < 1:
            raise RecipeError(f"held_out of {self.told()} must be a manifest or a share below 1, not {self.held_out}")

    def told(self) -> str:
        """The entry in a few words."""
        if self.toybox:
            return TOYBOX
        path = Path(self.path or self.shards or self.dataset)
        return self.name or (path.name if self.dataset else path.parent.name or path.stem)

    @property
    def streamed(self) -> bool:
        """Whether it is read as a stream in any case."""
        return bool(self.shards or self.dataset)


def sources_of(setting: Any, embeddings: str) -> list[Source]:
    """The entries of the setting ``data``; ``embeddings`` is for manifests that do not say. RecipeError names it."""
    listed = (setting if isinstance(setting, list) else [setting]) if setting else [{"toybox": True}]
    found = [_source({"path": entry} if isinstance(entry, str) else entry, embeddings) for entry in listed]
    weighted = [source for source in found if source.weight is not None]
    if weighted and len(weighted) < len(found):
        raise RecipeError("either every entry of data has a weight, or none has")
    names = [source.told() for source in found]
    if len(set(names)) < len(names):
        raise RecipeError(f"data has two entries called {max(names, key=names.count)!r}: give each a name of its own")
    return found


def _source(entry: Any, embeddings: str) -> Source:
    known = {field.name for field in fields(Source)}
    if not isinstance(entry, dict):
        raise RecipeError(f"an entry of data is a path or a mapping, not {entry!r}")
    for key in entry:
        if key not in known:
            raise RecipeError(f"data: unknown key {key!r}{nearest(key, sorted(known))}")
    values: dict[str, Any] = ({"embeddings": embeddings} if entry.get("path") else {}) | entry
    return Source(**values)


# ---------------------------------------------------------------------------------------------------------------------
# Dialogues of a source


def toybox_dialogues(
    seed: int, count: int, kinds: list[str], modalities: Sequence[str] = tuple(MODALITIES), misdrawn_share: float = 0.0
) -> Iterator[Spoken]:
    """Dialogues of Toybox; ``kinds`` are taken in turn, none = all, by their own weights.

    Those that show a medium of none of ``modalities`` are left out. RecipeError where hardly any is left.
    ``misdrawn_share``: see :func:`data.toybox.dialogues.stream.misdrawn`.
    """
    found = 0
    for index in itertools.count():
        if found == count:
            return
        kind = kinds[found % len(kinds)] if kinds else None
        told = misdrawn(dialogue(seed, index, kind=kind), misdrawn_share, np.random.default_rng((seed, index, 0xE44)))
        if _shown(told) <= set(modalities):
            found += 1
            yield Spoken(messages_of(told), told.kind, f"{TOYBOX} {seed}, dialogue {index}", TOYBOX)
        elif index > MOST_SKIPPED * (count + 1):
            known = ", ".join(modalities)
            raise RecipeError(f"too few dialogues of kind {kind or 'any'} have media that the encoder reads: {known}")


def _shown(told: Dialogue) -> set[str]:
    """Modalities of what comes in: a user shows it, or the assistant has made it and sees it in the next turn."""
    return {part.modality for turn in told.turns[:-1] for part in turn.parts if isinstance(part, MediaPart)}


def manifest_dialogues(source: Source, held_out: bool, seed: int) -> Iterator[Spoken | Located]:
    """Dialogues of a manifest, and the places of its records that cannot be used. RecipeError where there is none."""
    path = Path(source.path)
    apart = source.held_out
    if source.streamed:  # of a stream, only what is held out is a manifest
        if not apart:
            return
        source = replace(source, shards="", dataset="", path=str(apart), name=source.told())
        yield from (_dialogue(located, source) for located in _scanned(Path(source.path)))
        return
    if isinstance(apart, str):
        found = list(_scanned(Path(apart) if held_out else path))
    else:
        found = list(_scanned(path))
        chosen = _held_out(len(found), HELD_OUT_SHARE if apart is None else float(apart), seed)
        found = [located for number, located in enumerate(found) if (number in chosen) == held_out]
    for located in found:
        yield _dialogue(located, source)


def _dialogue(located: Located, source: Source) -> Spoken | Located:
    return located if located.record is None else spoken_of(located.record, located.where, source)


def opened_stream(source: Source, seed: int) -> RecordStream:
    """The archives or the data set of a source. RecipeError where it cannot be opened."""
    try:
        if source.dataset:
            from data.hub_datasets import DatasetRecords  # takes a second to import

            options = {"columns": source.columns, "seed": seed, "task": source.task}
            return DatasetRecords.open(source.dataset, split=source.split, **options)
        paths = [Path(path) for path in sorted(glob(source.shards))]
        if not paths:
            raise RecipeError(f"there is no archive {source.shards}")
        return Shards(paths, seed=seed, task=source.task)
    except FormatError as error:
        raise RecipeError(str(error)) from error


class SpokenStream:
    """A stream of records as one of dialogues."""

    def __init__(self, stream: RecordStream, source: Source) -> None:
        self.stream, self.source = stream, source

    def __iter__(self) -> Iterator[Spoken | Located]:
        for located in self.stream:
            yield _dialogue(located, self.source)

    def state_dict(self) -> dict[str, Any]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state)


def _scanned(path: Path) -> Iterator[Located]:
    try:
        yield from scan_manifest(path)
    except FormatError as error:
        raise RecipeError(str(error)) from error


def _held_out(count: int, share: float, seed: int) -> set[int]:
    """Which of ``count`` records are kept from training: of two or more, one at least."""
    wanted = min(math.ceil(share * count), max(0, count - 1))
    return set(np.random.default_rng((seed, count)).permutation(count)[:wanted].tolist())


def spoken_of(record: Record, where: str, source: Source) -> Spoken:
    """A record of a manifest, or of a stream, as a dialogue."""
    root = str(Path(source.path).parent) if source.path else ""
    messages = [
        {"role": message["role"], "content": [_content(part, root, source.embeddings) for part in message["content"]]}
        for message in record["messages"]
    ]
    return Spoken(messages, source.told(), where, source.told(), source.instruction)


def _content(part: dict[str, Any], root: str, embedded: str) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    path, content = part.get("path", ""), part.get("content")
    reference = FilePart(part["type"], path, part.get("caption", ""), "" if content else root, embedded, content)
    return {"type": part["type"], "part": reference, "embedding": reference if path else None}


def messages_of(spoken: Any) -> list[dict[str, Any]]:
    """A dialogue of Toybox as messages whose media parts carry their MediaPart (``part``) in place of an array."""
    messages = []
    for turn in spoken.turns:
        content: list[dict[str, Any]] = []
        for part in turn.parts:
            if isinstance(part, MediaPart):
                content.append({"type": part.modality, "part": part, "embedding": part})
            else:
                content.append({"type": "text", "text": part})
        messages.append({"role": turn.role, "content": content})
    return messages
