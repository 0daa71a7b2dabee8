"""Alpaca's instructions: ``{"instruction", "input", "output"}``, the input behind the instruction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import Located, located
from data.formats.sources import json_entries, text_of
from data.manifest import Record


def records(source: Path, *, media: Path | None = None) -> Iterator[Located]:
    """One question and one reply a record."""
    return located(json_entries(source), lambda entry: instruction(entry, {}))


def instruction(entry: dict[str, Any], meta: dict[str, Any]) -> Record:
    """An instruction with its input, and the output, as a record."""
    given = text_of(entry, "input", empty=True)
    asked = text_of(entry, "instruction") + (f"\n\n{given}" if given else "")
    messages = [
        {"role": "user", "content": [{"type": "text", "text": asked}]},
        {"role": "assistant", "content": [{"type": "text", "text": text_of(entry, "output")}]},
    ]
    return {"messages": messages, "meta": meta}
