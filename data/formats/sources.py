"""The files that datasets come in: JSON arrays, JSON lines, tables; every entry with the line on which it begins."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data.manifest import BadRecord, FormatError, Record, shown, unreadable
from data.records import ParsedRecord, parse_records

JSON_SUFFIXES = (".json", ".jsonl")


def json_reader(parse: Callable[[dict[str, Any]], Record]) -> Callable[..., Iterator[ParsedRecord]]:
    """Decorator: the function that makes a record of one JSON object becomes the reader of a format."""

    def records(source: Path, *, media: Path | None = None) -> Iterator[ParsedRecord]:
        return parse_records(json_entries(source), parse)

    records.__doc__ = parse.__doc__
    return records


def json_entries(source: Path) -> Iterator[tuple[str, Any]]:
    """(place, entry) of a JSON array, of JSON lines, or of all ``.json`` and ``.jsonl`` files of a folder in order.

    An entry that is no object is a BadRecord, and so is a line of JSON lines that is no JSON. FormatError where the
    file cannot be read, or where the array itself is broken, since nothing after that place can be trusted.
    """
    paths = sorted(path for path in source.iterdir() if path.suffix in JSON_SUFFIXES) if source.is_dir() else [source]
    if not paths:
        raise FormatError(f"{source} holds no {' or '.join(JSON_SUFFIXES)} file")
    for path in paths:
        text = read_text(path)
        listed = text.lstrip("\ufeff \t\r\n").startswith("[")
        for line, entry in _array(text, path) if listed else _lines(text):
            if not isinstance(entry, dict | BadRecord):
                entry = BadRecord(f"expected an object, not {shown(entry)}")
            yield f"{path}, line {line}", entry


def json_object(source: Path, *lists: str) -> dict[str, Any]:
    """A file that is one JSON object with the named lists. FormatError for any other."""
    try:
        value = json.loads(read_text(source))
    except json.JSONDecodeError as error:
        raise FormatError(f"{source}, line {error.lineno}: not JSON ({error.msg})") from error
    for name in lists:
        if not isinstance(value, dict) or not isinstance(value.get(name), list):
            raise FormatError(f'{source}: expected an object with a list "{name}"')
    return value


def table_rows(
    source: Path, columns: Sequence[str], *, delimiter: str = ",", header: bool = True
) -> Iterator[tuple[str, Any]]:
    """(place, row) of a table; a row is a dict of ``columns``, and whatever else the table has.

    Without a ``header`` the columns are those given. FormatError where the header lacks one; a row with more or fewer
    cells than the table has columns is a BadRecord.
    """
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if header else csv.QUOTE_NONE)
            names = next(rows, []) if header else list(columns)
            if missing := [column for column in columns if column not in names]:
                known = ", ".join(names) or "none"
                raise FormatError(f"{source}: the header lacks the column {missing[0]!r}; it has {known}")
            before = rows.line_num
            for cells in rows:
                where, before = f"{source}, line {before + 1}", rows.line_num
                if not cells:
                    continue
                problem = f"{len(cells)} columns, expected {len(names)}: {', '.join(names)}"
                fits = len(cells) == len(names)
                yield where, dict(zip(names, cells, strict=True)) if fits else BadRecord(problem)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(source, error) from error


def read_text(path: Path) -> str:
    """A UTF-8 file. FormatError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def text_of(entry: dict[str, Any], key: str, *, empty: bool = False) -> str:
    """The string ``entry[key]``. BadRecord where there is none, or an empty one that is not allowed."""
    value = entry.get(key)
    if value is None and empty:
        return ""
    if not isinstance(value, str):
        raise BadRecord(f'"{key}" must be text, not {shown(value)}')
    if not value.strip() and not empty:
        raise BadRecord(f'"{key}" is empty')
    return value.strip()


def _array(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    """(line, element) of a JSON array, decoded one by one."""
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _skip(text, text.index("[") + 1)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            entry, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise FormatError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
        yield line, entry
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise FormatError(f"{path}, line {line + text.count(chr(10), counted, at)}: expected , or ] after a record")


def _skip(text: str, at: int) -> int:
    """The next place from ``at`` on that is no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield number, BadRecord(f"not JSON ({getattr(error, 'msg', error)})")
