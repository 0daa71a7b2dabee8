"""LongAlpaca (2309.12307, Sec. 4): Alpaca's records, whose instruction holds a whole book, and its ``file``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import Located, located
from data.formats.alpaca import instruction
from data.formats.sources import json_entries
from data.manifest import Record


def records(source: Path, *, media: Path | None = None) -> Iterator[Located]:
    """One question and one reply a record; ``meta`` holds the ``file`` that the question is about."""
    return located(json_entries(source), _record)


def _record(entry: dict[str, Any]) -> Record:
    return instruction(entry, {"file": entry["file"]} if entry.get("file") else {})
