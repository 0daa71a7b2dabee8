"""``nextgpt-lite import``: a published data set becomes a manifest and its media."""

import argparse
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from data.formats import FORMATS, reader
from data.importing import import_records
from data.records import POLICIES, BadRecords, ParsedRecord

NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the published file, or a folder of such files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new or empty")
    parser.add_argument("--media", type=Path, help="folder of the media files (default: that of the source)")
    parser.add_argument("--bad", choices=POLICIES, default="refuse", help="what to do with records that cannot be used")
    parser.add_argument("--bad-limit", type=float, default=0.01, metavar="SHARE", help="with --bad skip, at most this")
    parser.add_argument("--link", action="store_true", help="hard-link the media in place of copying them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="media that are checked at a time")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the format, e.g. task=make"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.processes < 1:
        raise ValueError(f"--processes must be at least 1, not {arguments.processes}")
    if not arguments.source.exists():
        raise ValueError(f"there is no file {arguments.source}")
    folder = arguments.source if arguments.source.is_dir() else arguments.source.parent
    media = folder if arguments.media is None else arguments.media
    if not media.is_dir():
        raise ValueError(f"there is no folder {media}")
    bad = BadRecords(arguments.bad, arguments.bad_limit)
    found = read(arguments.format, arguments.source, media, arguments.set)
    try:
        imported = import_records(
            tqdm(found, unit="record"), media, arguments.out, bad, link=arguments.link, workers=arguments.processes
        )
    finally:
        for where, reason in list(bad.found.items())[:NAMED]:
            print(f"left out: {where}: {reason}", file=sys.stderr)
    media_counts = "".join(f", {count} {modality}" for modality, count in sorted(imported.media.items()))
    print(f"{imported.manifest}: {imported.records} records{media_counts}; {len(bad.found)} left out")
    return 0


def read(name: str, source: Path, media: Path, settings: list[str]) -> Iterator[ParsedRecord]:
    """The reader of a format with its options. ValueError for an option that it does not have."""
    records = reader(name)
    known = [option for option in inspect.signature(records).parameters if option not in ("source", "media")]
    options = {}
    for setting in settings:
        option, equals, value = setting.partition("=")
        if not equals or option not in known:
            raise ValueError(f"--set {setting}: format {name} has the options {', '.join(known) or 'none'}")
        options[option] = value
    return records(source, media=media, **options)
