"""COCO's captions (1504.00325).

``{"images": [{"id", "file_name"}], "annotations": [{"image_id", "id", "caption"}]}``
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import BadRecord, Located, located
from data.formats.captions import captioned, check_task
from data.formats.sources import json_object, shown, text_of
from data.manifest import Record


def records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[Located]:
    """One record a caption: a picture has five. ``meta`` holds the numbers of picture and caption."""
    check_task(task)
    stored = json_object(source, "images", "annotations")
    names = {image["id"]: image for image in stored["images"] if isinstance(image, dict) and "id" in image}
    entries = ((f"{source}, annotation {n}", entry) for n, entry in enumerate(stored["annotations"], start=1))
    return located(entries, lambda entry: _record(entry, names, task))


def _record(entry: Any, names: dict[Any, Any], task: str) -> Record:
    if not isinstance(entry, dict):
        raise BadRecord(f"expected an object, not {shown(entry)}")
    number = entry.get("image_id")
    if number not in names:
        raise BadRecord(f"image_id {shown(number)} is not among the images")
    meta = {"image_id": number, "id": entry.get("id")}
    return captioned("image", text_of(names[number], "file_name"), text_of(entry, "caption"), task, meta)
