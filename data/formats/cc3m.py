"""Conceptual Captions (CC3M): a table of caption and address, without a header, and a folder of downloaded pictures.

Nothing is fetched. The pictures are those that img2dataset writes from the same table: row N (from 0) is
``00012/000123456.jpg``, nine digits of N in a folder of its first five. Where its ``.json`` stands beside a picture,
the address in it must be the row's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import BadRecord, Located, located
from data.formats.captions import captioned, check_task, first_file
from data.formats.sources import table_rows
from data.manifest import Record

SUFFIXES = (".jpg", ".png", ".webp", ".jpeg")


def records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[Located]:
    """One record a row; ``meta`` holds its address."""
    check_task(task)
    folder = source.parent if media is None else media
    rows = table_rows(source, ("caption", "url"), delimiter="\t", header=False)
    numbered = ((where, row if isinstance(row, BadRecord) else (n, row)) for n, (where, row) in enumerate(rows))
    return located(numbered, lambda entry: _record(entry[0], entry[1], folder, task))


def _record(number: int, row: dict[str, Any], folder: Path, task: str) -> Record:
    key = f"{number:09}"
    path = first_file(folder, [f"{key[:5]}/{key}", key], SUFFIXES)
    beside = (folder / path).with_suffix(".json")
    if beside.is_file() and (found := _address(beside)) != row["url"]:
        raise BadRecord(f"{path} was downloaded from {found}, this row is of {row['url']}")
    return captioned("image", path, row["caption"], task, {"url": row["url"]})


def _address(path: Path) -> str | None:
    """The address in what img2dataset wrote beside a picture."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("url")
    except (OSError, ValueError, AttributeError) as error:
        raise BadRecord(f"{path.name} beside the picture cannot be read: {error}") from error
