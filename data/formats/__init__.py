"""Published datasets as the records of a manifest (data.manifest).

A reader is ``records(source: Path, *, media: Path | None = None, **options) -> Iterator[ParsedRecord]``. ``source`` is
the file as it was published, or a folder of such files; ``media`` is the folder of the media files (default: the folder
of the source). Media paths in its records are relative to ``media``; whether the files exist is checked by
data.importing. A record that cannot be read is a :class:`data.records.ParsedRecord` with a ``problem``, so that one bad
line hides no other; a source that cannot be read at all is a data.manifest.FormatError. A reader of JSON objects is a
function that makes a record of one of them, decorated with data.formats.sources.json_reader.
"""

import importlib
from collections.abc import Callable, Iterator

from data.records import ParsedRecord

#: ``nextgpt-lite import`` name -> "module:function" of its reader. Strings, so that one format imports no other.
FORMATS = {
    "llava": "data.formats.conversations:llava_records",
    "nextgpt_encoding": "data.formats.nextgpt:encoding_records",
    "nextgpt_decoding": "data.formats.nextgpt:decoding_records",
    "nextgpt_t2m": "data.formats.nextgpt:t2m_records",
    "nextgpt_mosit": "data.formats.nextgpt:mosit_records",
    "alpaca": "data.formats.conversations:alpaca_records",
    "longalpaca": "data.formats.conversations:alpaca_records",
    "sharegpt": "data.formats.conversations:sharegpt_records",
    "coco_captions": "data.formats.captions:coco_records",
    "cc3m": "data.formats.captions:cc3m_records",
    "webvid": "data.formats.captions:webvid_records",
    "audiocaps": "data.formats.captions:audiocaps_records",
    "msrvtt": "data.formats.captions:msrvtt_records",
    "vqav2": "data.formats.benchmarks:vqav2_records",
    "scienceqa": "data.formats.benchmarks:scienceqa_records",
    "pope": "data.formats.benchmarks:pope_records",
    "omnibench": "data.formats.benchmarks:omnibench_records",
    "mmie": "data.formats.benchmarks:mmie_records",
    "geneval": "data.formats.benchmarks:geneval_records",
    "labelled": "data.formats.labelled:records",
    "pairs": "data.formats.captions:pair_records",
}


def reader(name: str) -> Callable[..., Iterator[ParsedRecord]]:
    """The reader of a format. ValueError for an unknown name."""
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: expected one of {', '.join(FORMATS)}")
    module, _, function = FORMATS[name].partition(":")
    return getattr(importlib.import_module(module), function)
