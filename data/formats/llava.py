"""LLaVA's conversations (2304.08485): ``{"id", "image"?, "conversations": [{"from": "human" | "gpt", "value"}]}``.

``<image>`` in a text stands for the record's image, or for the next of a list of them. Its kin that has ``video`` or
``audio`` beside ``image`` is read as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import Located, located
from data.formats.sources import json_entries
from data.formats.turns import MediaQueue, conversation, medium, turns_of
from data.manifest import Record

MODALITIES = ("image", "video", "audio")


def records(source: Path, *, media: Path | None = None) -> Iterator[Located]:
    """One record a conversation; ``meta`` holds its ``id``."""
    return located(json_entries(source), _record)


def _record(entry: dict[str, Any]) -> Record:
    given = {modality: [medium(modality, path) for path in _listed(entry.get(modality))] for modality in MODALITIES}
    return conversation(turns_of(entry), MediaQueue(**given), {"id": entry.get("id")})


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
