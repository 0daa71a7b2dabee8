"""The files that datasets come in: JSON arrays, JSON lines, tables; every entry with its line, number and id."""

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from data.manifest import BadRecord, FormatError, Record, shown, unreadable
from data.records import ParsedRecord, parse_records
from data.text_files import open_records, parse_json

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
        text = _read(path)
        listed = text.lstrip(" \t\r\n").startswith("[")
        for place, entry in _array(text, path) if listed else _lines(text):
            number = entry.get("id") if isinstance(entry, dict) else None
            named = f", id {shown(number)}" if isinstance(number, int | str) else ""
            if not isinstance(entry, dict | BadRecord):
                entry = BadRecord(f"expected an object, not {shown(entry)}")
            yield f"{path}, {place}{named}", entry


def json_object(source: Path, *lists: str) -> dict[str, Any]:
    """A file that is one JSON object with the named lists. FormatError for any other."""
    try:
        value = parse_json(_read(source))
    except ValueError as error:
        raise error if isinstance(error, FormatError) else FormatError(f"{source}: {error}") from error
    for name in lists:
        if not isinstance(value, dict) or not isinstance(value.get(name), list):
            raise FormatError(f'{source}: expected an object with a list "{name}"')
    return value


def table_rows(
    source: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    header: bool = True,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[str, Any]]:
    """(place, row) of a table; a row is a dict of ``columns``, and whatever else the table has.

    Without a ``header`` the columns are those given; with one, ``aliases`` are other names of a column, in any case,
    which count where the table has one of them only. FormatError where the header lacks a column, or where several
    could be it; a row with more or fewer cells than the table has columns is a BadRecord.
    """
    known = {column: (aliases or {}).get(column, ()) for column in columns}
    options = {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL if header else csv.QUOTE_NONE}
    try:
        with open_records(source, newline="") as file:
            names = _header(file.readline(), known, options, source) if header else list(columns)
            for line, cells in _rows(file, names, options, first=2 if header else 1):
                row = cells if isinstance(cells, BadRecord) else dict(zip(names, cells, strict=True))
                yield f"{source}, line {line}", row
    except (OSError, ValueError) as error:
        raise error if isinstance(error, FormatError) else unreadable(source, error) from error


def _header(line: str, columns: Mapping[str, Sequence[str]], options: dict[str, Any], source: Path) -> list[str]:
    """The names of a table's columns, those of ``columns`` in place of their aliases.

    ``options`` take the delimiter by which most of ``columns`` are there. FormatError where one is not, or is twice.
    """

    def split(delimiter: str) -> tuple[list[str], dict[str, list[str]]]:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
        return names, {column: _standing_for(column, aliases, names) for column, aliases in columns.items()}

    delimiters = (options["delimiter"], ";", "\t")
    options["delimiter"] = max(delimiters, key=lambda each: sum(map(bool, split(each)[1].values())))
    names, found = split(options["delimiter"])
    for column, own in found.items():
        if not own:
            known = f" (or {', '.join(columns[column])})" if columns[column] else ""
            has = shown(line.strip(), 200) if line.strip() else "none"
            raise FormatError(f"{source}: the header lacks the column {column!r}{known}; it has {has}")
        if len(own) > 1:
            raise FormatError(f"{source}: {' and '.join(own)} could each be the column {column!r}: rename all but one")
    renamed = {own[0]: column for column, own in found.items()}
    return [renamed.get(name, name) for name in names]


def _standing_for(column: str, aliases: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names in a header that stand for a column: its own, or else its aliases."""
    own = [name for name in names if name == column or (aliases and name.casefold() == column)]
    return own or [name for name in names if name.casefold() in aliases]


def _rows(file: TextIO, names: list[str], options: dict[str, Any], first: int) -> Iterator[tuple[int, Any]]:
    """(line, cells or BadRecord) of each row, the lines counted from ``first``.

    After a bad row the next line is read as a row, so that a quotation mark that is never closed hides no others.
    """
    waiting: deque[str] = deque()
    number = first
    while True:
        taken: list[str] = []

        def lines(taken: list[str] = taken) -> Iterator[str]:
            while line := waiting.popleft() if waiting else file.readline():
                taken.append(line)
                yield line

        cells: Any = None
        try:
            cells = next(csv.reader(lines(), strict=True, **options), None)
            if cells is None:
                return
            if cells and len(cells) != len(names):
                cells = BadRecord(f"{len(cells)} columns, expected {len(names)}: {', '.join(names)}")
        except csv.Error as error:
            cells = BadRecord(f"not a row of a table ({error})")
        if isinstance(cells, BadRecord):
            waiting.extendleft(reversed(taken[1:]))
            del taken[1:]
        if cells:
            yield number, cells
        number += len(taken)


def _read(path: Path) -> str:
    """The text of a file of records. FormatError where it cannot be read."""
    try:
        with open_records(path) as file:
            return file.read()
    except (OSError, ValueError) as error:
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


def _array(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """(place, element) of a JSON array, decoded one by one."""
    decoder, line, counted, number = json.JSONDecoder(), 1, 0, 0
    at = _skip(text, text.index("[") + 1)
    while text[at : at + 1] != "]":
        line, counted, number = line + text.count("\n", counted, at), at, number + 1
        place = f"line {line}, record {number}"
        try:
            entry, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", line)
            raise FormatError(
                f"{path}, line {line}, record {number}: not JSON ({getattr(error, 'msg', error)})"
            ) from error
        yield place, entry
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            found = line + text.count("\n", counted, at)
            raise FormatError(f"{path}, line {found}: expected , or ] after a record")
    if text[at + 1 :].strip():
        raise FormatError(f"{path}: there is more after the end of the list")


def _skip(text: str, at: int) -> int:
    """The next place from ``at`` on that is no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", parse_json(line)
            except ValueError as error:
                yield f"line {number}", BadRecord(str(error))
