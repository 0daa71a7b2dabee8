"""A published data set becomes a folder of its own: ``manifest.jsonl``, ``media/``, and what was left out."""

from __future__ import annotations

import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.manifest import Record, inside, write_manifest
from data.media.decoding_pool import decode_in_pool
from data.media.loading import MediaError, load_medium
from data.records import REJECTED, BadRecord, BadRecords, Located, check_replies

#: Records whose media are read ahead of the one that is written.
AHEAD = 64
MEDIA = "media"


@dataclass
class Imported:
    """What an import has written: records, and media files by modality."""

    manifest: Path
    records: int = 0
    media: Counter[str] = field(default_factory=Counter)


def import_records(
    found: Iterable[Located], media: Path, out: Path, bad: BadRecords, *, link: bool = False, workers: int = 2
) -> Imported:
    """Write what can be used of ``found`` to the new folder ``out``, aside and renamed.

    Media are looked up in the folder ``media``, read once through data.media.loading (``workers`` at a time), and
    copied to ``out/media`` under the same names, or hard-linked. ``rejected.jsonl`` names what ``bad`` has counted.
    Raises data.records.TooManyBadRecords, FormatError of the source, ValueError where nothing is left; then nothing
    is written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} holds something already: give a new folder")
    aside = out.absolute().with_name(f".{os.getpid()}.{out.name}")
    imported = Imported(out / "manifest.jsonl")
    try:
        aside.mkdir(parents=True)
        place = _Placing(media, aside / MEDIA, link, imported.media)
        with ThreadPoolExecutor(workers) as pool:
            records = (place(record) for record in usable(found, media, bad, pool))
            imported.records = write_manifest(aside / "manifest.jsonl", records)
        bad.total = bad.seen
        bad.check()
        if not imported.records:
            raise ValueError("the source holds no record: nothing is written")
        if bad.found:
            bad.write(aside / REJECTED)
        if out.exists():
            out.rmdir()
        os.replace(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return imported


def usable(found: Iterable[Located], media: Path, bad: BadRecords, pool: ThreadPoolExecutor) -> Iterator[Record]:
    """The records of ``found`` that can be used, in order; the others are counted in ``bad``."""
    ahead: deque[tuple[Located, list[Future[str]]]] = deque()
    known: dict[tuple[str, str], Future[str]] = {}

    def problem_of(modality: str, path: str) -> Future[str]:
        key = (modality, path)
        if key not in known:
            known[key] = pool.submit(medium_problem, modality, path, media)
        return known[key]

    for located in found:
        bad.seen += 1
        ahead.append(_inspected(located, problem_of))
        if len(ahead) > AHEAD:
            yield from _judged(*ahead.popleft(), bad)
    while ahead:
        yield from _judged(*ahead.popleft(), bad)


def medium_problem(modality: str, path: str, folder: Path) -> str:
    """Why the medium at ``path`` of ``folder`` cannot be used; empty where it can."""
    try:
        file = inside(path, folder, "")
        found = load_medium(file, decode=decode_in_pool).modality
    except MediaError as error:
        return str(error)
    except ValueError as error:  # where it lies; the place is the caller's to name
        return str(error).removeprefix(": ")
    return "" if found == modality else f"{path!r} is listed as {modality}, but it holds {found}"


def media_parts(record: Record) -> Iterator[dict[str, Any]]:
    """The parts of a record that have a file, in order."""
    for message in record["messages"]:
        yield from (part for part in message["content"] if "path" in part)


def _inspected(located: Located, problem_of: Callable[[str, str], Future[str]]) -> tuple[Located, list[Future[str]]]:
    """A record, checked as far as its words go, and what is to be known of its media."""
    if located.record is None:
        return located, []
    try:
        check_replies(located.record)
    except BadRecord as error:
        return Located(located.where, problem=str(error)), []
    return located, [problem_of(part["type"], part["path"]) for part in media_parts(located.record)]


def _judged(located: Located, inspected: list[Future[str]], bad: BadRecords) -> Iterator[Record]:
    problems = [problem for future in inspected if (problem := future.result())]
    if located.record is None or problems:
        bad.add(located.where, located.problem or problems[0])
    else:
        yield located.record


class _Placing:
    """Puts the media of a record into a folder, each once."""

    def __init__(self, source: Path, folder: Path, link: bool, counts: Counter[str]) -> None:
        self.source, self.folder, self.link, self.counts = source, folder, link, counts
        self.placed: set[str] = set()

    def __call__(self, record: Record) -> Record:
        """The record with the paths of its media in the folder."""
        messages = [
            {**message, "content": [self._part(part) for part in message["content"]]} for message in record["messages"]
        ]
        return {"messages": messages, "meta": record["meta"]}

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        if "path" not in part:
            return part
        name = Path(part["path"]).as_posix()
        target = self.folder / name
        if name not in self.placed:
            target.parent.mkdir(parents=True, exist_ok=True)
            (os.link if self.link else shutil.copyfile)((self.source / name).resolve(), target)
            self.placed.add(name)
            self.counts[part["type"]] += 1
        return {**part, "path": str(target)}
