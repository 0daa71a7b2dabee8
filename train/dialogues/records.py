"""Records, the first step of a stage's data: the setting ``data`` says where conversations come from and how they mix.

    data:
      - {path: llava/manifest.jsonl, weight: 2.0, held_out: 0.02}
      - {path: alpaca/manifest.jsonl, weight: 1.0}
      - {toybox: true, weight: 1.0}
      - {things: true}
      - {shards: "cc3m/*.tar", weight: 4.0, held_out: cc3m/held_out/manifest.jsonl}
      - {dataset: some/folder, columns: {image: picture, caption: text}, weight: 1.0}

Without it Toybox is the only source; a path alone is a manifest, or a table file,caption (.csv, .tsv). Where archives
or Hugging Face datasets are among the sources, all of them are read as streams. Media are references: to scenes of
Toybox, files of a manifest, media of a stream.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.manifest import FormatError, is_table
from data.media.decoding_pool import decode_in_pool
from data.media.loading import MediaError, load_bytes, load_medium
from data.modalities import MODALITIES
from data.records import ParsedRecord, scan_manifest
from data.streams.mixture import RecordStream
from data.streams.shards import Shards
from data.things.dialogues import KINDS as THINGS_KINDS
from data.things.dialogues import MediaPart as ThingsPart
from data.things.dialogues import Unknown
from data.things.dialogues.rendering import render_medium as render_things
from data.toybox import Dialogue, MediaPart, dialogue, mismatched_media, out_of_distribution_medium, render_medium
from train.dialogues.overlap import count_shared
from train.settings import RecipeError, read_settings, setting

#: When media of a manifest are embedded: before training (and kept), or in each step. Else a folder of embeddings.
AT_START, IN_STEPS = "start", "steps"


@dataclass(frozen=True)
class MediaFile:
    """A medium in a file of a manifest, or in a stream, which brings its ``content``.

    ``root`` is the manifest's folder. Without a ``path`` there is a ``caption`` alone: the assistant is to make a
    medium of which there is no file. ``embedded`` says when: AT_START, IN_STEPS, or before, into that folder.
    """

    modality: str
    path: str = ""
    caption: str = ""
    root: str = ""
    embedded: str = AT_START
    content: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The path as the manifest has it."""
        return Path(self.path).relative_to(self.root).as_posix() if self.root else self.path


#: A medium of a generated world, or of a file.
Medium = MediaPart | ThingsPart | MediaFile


def has_content(medium: Medium) -> bool:
    """Whether there is a medium, not a caption alone."""
    return not isinstance(medium, MediaFile) or bool(medium.path)


def embedded(medium: Medium) -> str:
    """When a medium is embedded; scenes of generated worlds always before training."""
    return medium.embedded if isinstance(medium, MediaFile) else AT_START


def read_medium(medium: Medium) -> tuple[np.ndarray, float | None]:
    """Array and rate of a medium: a render of its scene, or its file.

    Raises data.media.loading.MediaError for a file that cannot be read or holds another modality.
    """
    if isinstance(medium, MediaPart):
        return render_medium(medium), MODALITIES[medium.modality].rate
    if isinstance(medium, ThingsPart):
        if isinstance(medium.content, Unknown):
            return out_of_distribution_medium(medium.modality, *medium.content), MODALITIES[medium.modality].rate
        return render_things(medium)
    if medium.content is None:
        found = load_medium(medium.path, decode=decode_in_pool)
    else:
        found = load_bytes(medium.path, medium.content, decode=decode_in_pool)
    if found.modality != medium.modality:
        raise MediaError(f"{medium.name!r} is listed as {medium.modality}, but it holds {found.modality}")
    return found.array, found.rate


def fingerprint(medium: Medium) -> str:
    """A text that differs between media, and for a file that has been changed since."""
    if not isinstance(medium, MediaFile) or not medium.path:
        return repr(medium)
    status = os.stat(medium.path)
    return f"{medium.modality} {medium.path} {status.st_size} {status.st_mtime_ns}"


TOYBOX, THINGS = "toybox", "things"
#: How many of Toybox's dialogues are drawn for each usable one before it is an error that there are none.
MAX_SKIPPED = 50
#: Share of a manifest that is kept for evaluate() where its entry does not say.
HELD_OUT_SHARE = 0.05


class Conversation(NamedTuple):
    """Messages whose media parts carry a reference to their medium as ``part``.

    Its figures are counted under ``kind``; ``where`` names its place, ``source`` its entry of ``data``;
    ``instruction`` is its group in joint training, None = by whether it holds media; ``rejected`` the content of a
    reply that is worse than the last one, () = none is known.
    """

    messages: list[dict[str, Any]]
    kind: str
    where: str
    source: str
    instruction: bool | None = None
    rejected: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Source:
    """One entry of ``data``. Every field is a key of it."""

    toybox: bool = setting(False, help="dialogues of Toybox")
    things: bool = setting(False, help="the world of things, see data.things; its dialogues, see train.dialogues")
    kinds: list[str] = setting([], choices=tuple(THINGS_KINDS), help="of dialogues about things; none = all, by weight")
    path: str = setting("", help="of a manifest, or of a table file,caption")
    shards: str = setting("", help="tar archives, with * for many, see data.streams.shards")
    dataset: str = setting("", help="a Hugging Face dataset, see data.streams.hub_datasets")
    split: str = setting("train", help="of the dataset")
    columns: dict[str, str] | None = setting(None, help="of the dataset")
    task: str = setting("tell", choices=("tell", "make"), help="of streams and tables: captions or media answer")
    weight: float | None = setting(None, above=0, help="share of the training rows; no weights = all rows once")
    name: str = setting("", help="what its figures are called; default: things, or the manifest's folder")
    held_out: str | float | None = setting(None, low=0, below=1, help="for evaluate(): a manifest, or a share of this")
    instruction: bool | None = setting(None, help="for joint training: instructions (true) or captions (false)")
    embeddings: str = setting(AT_START, help="media are embedded at the start, in steps, or are in this folder")

    def __post_init__(self) -> None:
        if sum(map(bool, (self.toybox, self.things, self.path, self.shards, self.dataset))) != 1:
            raise RecipeError(
                f"an entry has one of toybox, things, path, shards and dataset, not {self.label or 'none'}"
            )
        if self.is_stream and isinstance(self.held_out, float):
            raise RecipeError(f"held_out of {self.label}, which is a stream, must be a manifest, not {self.held_out}")

    @property
    def label(self) -> str:
        """A short name of the entry."""
        if self.toybox or self.things:
            return TOYBOX if self.toybox else self.name or THINGS
        path = Path(self.path or self.shards or self.dataset)
        folder = "" if is_table(path) else path.parent.name  # manifests have one name, in folders of their own
        return self.name or (path.name if self.dataset else folder or path.stem)

    @property
    def generated(self) -> bool:
        """Whether its dialogues are drawn from a generated world."""
        return self.toybox or self.things

    @property
    def is_stream(self) -> bool:
        """Whether it can be read as a stream only."""
        return bool(self.shards or self.dataset)


def sources_of(data: Any, embeddings: str) -> list[Source]:
    """The entries of the setting ``data``; ``embeddings`` is for manifests that do not say."""
    listed = (data if isinstance(data, list) else [data]) if data not in (None, []) else [{"toybox": True}]
    entries = [{"path": entry} if isinstance(entry, str) else entry for entry in listed]
    found = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise RecipeError(f"data[{number}] must be a path or a mapping, not {entry!r}")
        default = {"embeddings": embeddings} if entry.get("path") else {}
        found.append(read_settings(Source, default | entry, f"data[{number}]"))
    if len({source.weight is None for source in found}) > 1:
        raise RecipeError("either every entry of data has a weight, or none has")
    labels = [source.label for source in found]
    if len(set(labels)) < len(labels):
        raise RecipeError(f"data has two entries called {max(labels, key=labels.count)!r}: give each a name of its own")
    return found


def toybox_conversations(
    seed: int, count: int, kinds: Sequence[str], modalities: Sequence[str] = tuple(MODALITIES), mismatched: float = 0.0
) -> Iterator[Conversation]:
    """Dialogues of Toybox; ``kinds`` are taken in turn, none = all, by their own weights.

    Those that show a medium of none of ``modalities`` are left out. RecipeError where hardly any is left.
    ``mismatched`` is the share in :func:`data.toybox.mismatched_media`.
    """
    found = 0
    for index in itertools.count():
        if found == count:
            return
        kind = kinds[found % len(kinds)] if kinds else None
        rng = np.random.default_rng((seed, index, 0xE44))
        drawn = mismatched_media(dialogue(seed, index, kind=kind), mismatched, rng)
        # What the encoder reads: a user shows it, or the assistant sees what it made in the turn before.
        shown = {part.modality for turn in drawn.turns[:-1] for part in turn.parts if isinstance(part, MediaPart)}
        if shown <= set(modalities):
            found += 1
            yield Conversation(messages_of(drawn), drawn.kind, f"{TOYBOX} {seed}, dialogue {index}", TOYBOX)
        elif index > MAX_SKIPPED * (count + 1):
            known = ", ".join(modalities)
            raise RecipeError(f"too few dialogues of kind {kind or 'any'} have media that the encoder reads: {known}")


def messages_of(drawn: Dialogue) -> list[dict[str, Any]]:
    """A dialogue of Toybox as messages whose media parts carry their MediaPart (``part``) in place of an array."""
    return [{"role": turn.role, "content": [_toybox_part(part) for part in turn.parts]} for turn in drawn.turns]


def _toybox_part(part: str | MediaPart) -> dict[str, Any]:
    if isinstance(part, MediaPart):
        return {"type": part.modality, "part": part, "embedding": part}
    return {"type": "text", "text": part}


def manifest_conversations(source: Source, held_out: bool, seed: int) -> Iterator[Conversation | ParsedRecord]:
    """Conversations of a manifest, and the places of its records that cannot be used. RecipeError where none is found.

    Of a stream only what is held out is a manifest.
    """
    own = source.held_out
    if source.is_stream and own is None:
        return
    found = _scan(str(own) if source.is_stream or (held_out and isinstance(own, str)) else source.path, source.task)
    if source.is_stream:
        source = replace(source, shards="", dataset="", path=str(own), name=source.label)
    elif not isinstance(own, str):
        kept = _held_out(len(found), HELD_OUT_SHARE if own is None else own, seed)
        found = [parsed for number, parsed in enumerate(found) if (number in kept) == held_out]
    yield from (conversation_of(parsed, source) for parsed in found)


def check_apart(source: Source) -> None:
    """RecipeError where a manifest that is held out holds records of the one that is trained on."""
    if source.path and isinstance(source.held_out, str):
        kept, trained = _scan(source.held_out, source.task), _scan(source.path, source.task)
        if shared := count_shared(kept, trained):
            of = f"{shared} of the {len(kept)} records in {source.held_out}, which is held out,"
            raise RecipeError(f"{of} are in {source.path} too: what is trained on says nothing about the model")


def open_stream(source: Source, seed: int) -> RecordStream:
    """The archives or the dataset of a source. RecipeError where they cannot be opened."""
    paths = [Path(path) for path in sorted(glob(source.shards))]
    if source.shards and not paths:
        raise RecipeError(f"there is no archive {source.shards}")
    try:
        if source.shards:
            return Shards(paths, seed=seed, task=source.task)
        from data.streams.hub_datasets import DatasetRecords  # takes a second to import

        options = {"columns": source.columns, "seed": seed, "task": source.task}
        return DatasetRecords.open(source.dataset, split=source.split, **options)
    except FormatError as error:
        raise RecipeError(str(error)) from error


def _scan(path: str, task: str) -> list[ParsedRecord]:
    try:
        return list(scan_manifest(path, task))
    except FormatError as error:
        raise RecipeError(str(error)) from error


def _held_out(count: int, share: float, seed: int) -> set[int]:
    """Which of ``count`` records are kept from training: of two or more, one at least."""
    wanted = min(math.ceil(share * count), max(0, count - 1))
    return set(np.random.default_rng((seed, count)).permutation(count)[:wanted].tolist())


def conversation_of(parsed: Conversation | ParsedRecord, source: Source) -> Conversation | ParsedRecord:
    """A record of a manifest or of a stream as a conversation; one that is none, or is one already, stays as it is."""
    if isinstance(parsed, Conversation) or parsed.record is None:
        return parsed
    messages = [
        {"role": message["role"], "content": [_reference(part, source) for part in message["content"]]}
        for message in parsed.record["messages"]
    ]
    rejected = [_reference(part, source) for part in parsed.record.get("rejected", ())]
    return Conversation(messages, source.label, parsed.where, source.label, source.instruction, rejected)


def _reference(part: dict[str, Any], source: Source) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    path, content = part.get("path", ""), part.get("content")
    root = str(Path(source.path).parent) if source.path and not content else ""
    file = MediaFile(part["type"], path, part.get("caption", ""), root, source.embeddings, content)
    return {"type": part["type"], "part": file, "embedding": file if path else None}
