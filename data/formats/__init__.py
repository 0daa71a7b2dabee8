"""Published data sets as the records of a manifest (data.manifest): one file a format.

A reader is ``records(source: Path, *, media: Path | None = None, **options) -> Iterator[Located]``. ``source`` is the
file as it was published, or a folder of such files; ``media`` is the folder of the media files (default: the folder
of the source). Media paths in its records are relative to ``media``; whether the files are there is not a reader's
question but that of data.importing. A record that cannot be read is a :class:`Located` with a ``problem``, so that
one bad line hides no other; a source that cannot be read at all is a data.manifest.FormatError.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from data.manifest import Record
from data.records import BadRecord, Located

#: ``nextgpt-lite import`` name -> "module:function" of its reader. Strings, so that one format imports no other.
FORMATS = {
    "llava": "data.formats.llava:records",
    "nextgpt_encoding": "data.formats.nextgpt:encoding_records",
    "nextgpt_decoding": "data.formats.nextgpt:decoding_records",
    "nextgpt_t2m": "data.formats.nextgpt:t2m_records",
    "nextgpt_mosit": "data.formats.nextgpt:mosit_records",
    "alpaca": "data.formats.alpaca:records",
    "longalpaca": "data.formats.longalpaca:records",
    "sharegpt": "data.formats.sharegpt:records",
    "coco_captions": "data.formats.coco_captions:records",
    "cc3m": "data.formats.cc3m:records",
    "webvid": "data.formats.webvid:records",
    "audiocaps": "data.formats.audiocaps:records",
    "labelled": "data.formats.labelled:records",
}


def reader(name: str) -> Callable[..., Iterator[Located]]:
    """The reader of a format. ValueError for an unknown name."""
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: expected one of {', '.join(FORMATS)}")
    module, _, function = FORMATS[name].partition(":")
    return getattr(importlib.import_module(module), function)


def located(entries: Iterator[tuple[str, Any]], make: Callable[[Any], Record | list[Record]]) -> Iterator[Located]:
    """``make`` applied to the entries of a source, each with its place.

    An entry may be a BadRecord itself (a line that is no JSON); what ``make`` raises of that kind is a problem too.
    Where ``make`` gives several records, all of them stand at the entry's place.
    """
    for where, entry in entries:
        try:
            if isinstance(entry, BadRecord):
                raise entry
            made = make(entry)
        except BadRecord as error:
            yield Located(where, problem=str(error))
            continue
        for record in made if isinstance(made, list) else [made]:
            yield Located(where, record)


__all__ = ["FORMATS", "BadRecord", "Located", "located", "reader"]
