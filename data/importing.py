"""A published dataset becomes a folder of its own: ``manifest.jsonl``, ``media/``, and ``rejected.jsonl``."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from data.atomic import atomic_folder, check_new_folder
from data.manifest import BadRecord, Record, find_file, media_parts, replace_paths, write_manifest
from data.media.decoding_pool import decode_in_pool
from data.media.loading import MediaError, load_medium
from data.records import REJECTED, BadRecords, ParsedRecord

#: Records whose media are checked at a time.
AHEAD = 256
MEDIA = "media"


@dataclass
class Imported:
    """What an import has written: records, and media files by modality."""

    manifest: Path
    records: int = 0
    media: Counter[str] = field(default_factory=Counter)


def import_records(
    parsed: Iterable[ParsedRecord], media: Path, out: Path, bad: BadRecords, *, link: bool = False, workers: int = 2
) -> Imported:
    """Write the usable records of ``parsed`` to the new folder ``out``, atomically.

    Media are looked up in the folder ``media``, decoded once to check them (``workers`` at a time), and copied to
    ``out/media`` under the same names, or hard-linked. ``rejected.jsonl`` names what ``bad`` has counted. Raises
    data.records.TooManyBadRecords, FormatError of the source, ValueError where nothing is left; then nothing is
    written.
    """
    check_new_folder(out)
    imported = Imported(out / "manifest.jsonl")
    copy: Callable[[Path, Path], Any] = os.link if link else shutil.copyfile
    with atomic_folder(out) as temporary:

        def place(part: dict[str, Any]) -> str:
            """Copy the medium of a part, once; returns its new path."""
            name = Path(part["path"]).as_posix()
            target = temporary / MEDIA / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                copy((media / name).resolve(), target)
                imported.media[part["type"]] += 1
            return str(target)

        records = (replace_paths(record, place) for record in usable_records(parsed, media, bad, workers))
        imported.records = write_manifest(temporary / "manifest.jsonl", records)
        bad.total = bad.seen
        bad.check()
        if not imported.records:
            raise ValueError("the source holds no record: nothing is written")
        if bad.found:
            bad.write(temporary / REJECTED)
    return imported


def usable_records(parsed: Iterable[ParsedRecord], media: Path, bad: BadRecords, workers: int = 2) -> Iterator[Record]:
    """The records of ``parsed`` whose media can be used, in order; the others are counted in ``bad``."""
    problem_of = cache(partial(medium_problem, folder=media))

    def problem(one: ParsedRecord) -> str:
        parts = media_parts(one.record) if one.record else ()
        return one.problem or next((p for part in parts if (p := problem_of(part["type"], part["path"]))), "")

    parsed = iter(parsed)
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(parsed, AHEAD)):
            for one, found in zip(batch, pool.map(problem, batch), strict=True):
                bad.seen += 1
                if one.record is None or found:
                    bad.add(one.where, found)
                else:
                    yield one.record


def medium_problem(modality: str, path: str, folder: Path) -> str:
    """Why the medium at ``path`` of ``folder`` cannot be used; empty where it can."""
    try:
        found = load_medium(find_file(path, folder), decode=decode_in_pool).modality
    except (MediaError, BadRecord) as error:
        return str(error)
    return "" if found == modality else f"{path!r} is listed as {modality}, but it holds {found}"
