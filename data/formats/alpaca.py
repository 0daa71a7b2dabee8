"""Alpaca's instructions ``{"instruction", "input", "output"}``, the input following the instruction.

LongAlpaca (2309.12307, Sec. 4) has the same records, whose instruction holds a whole book, and its ``file``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats.sources import json_entries, text_of
from data.manifest import Record
from data.records import ParsedRecord, parse_records


def alpaca_records(source: Path, *, media: Path | None = None) -> Iterator[ParsedRecord]:
    """One question and one reply a record."""
    return parse_records(json_entries(source), lambda entry: _record(entry, {}))


def longalpaca_records(source: Path, *, media: Path | None = None) -> Iterator[ParsedRecord]:
    """One question and one reply a record; ``meta`` holds the ``file`` that the question is about."""
    entries = json_entries(source)
    return parse_records(entries, lambda entry: _record(entry, {"file": entry["file"]} if entry.get("file") else {}))


def _record(entry: dict[str, Any], meta: dict[str, Any]) -> Record:
    given = text_of(entry, "input", empty=True)
    question = text_of(entry, "instruction") + (f"\n\n{given}" if given else "")
    messages = [
        {"role": "user", "content": [{"type": "text", "text": question}]},
        {"role": "assistant", "content": [{"type": "text", "text": text_of(entry, "output")}]},
    ]
    return {"messages": messages, "meta": meta}
