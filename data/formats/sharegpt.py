"""ShareGPT's conversations: ``{"id", "conversations": [{"from": "human" | "gpt", "value"}]}``, words alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import Located, located
from data.formats.sources import json_entries
from data.formats.turns import MediaQueue, conversation, turns_of
from data.manifest import Record


def records(source: Path, *, media: Path | None = None) -> Iterator[Located]:
    """One record a conversation; what looks like a placeholder in it is text like any other."""
    return located(json_entries(source), _record)


def _record(entry: dict[str, Any]) -> Record:
    return conversation(turns_of(entry), MediaQueue(), {"id": entry.get("id")}, placeholders=False)
