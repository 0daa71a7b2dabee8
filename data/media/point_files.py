"""Arrays from NPY files, and point clouds from tables of numbers (XYZ, CSV)."""

import csv
import io
import re
from itertools import islice
from typing import BinaryIO

import numpy as np

from data.media.file_formats import Refused
from data.text_files import decode_text

AXES = ("x", "y", "z")
#: The most lines of comments that are read, and the most characters of a line.
MAX_COMMENTS, MAX_LINE = 1000, 10_000
#: A number with a decimal comma.
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")


def read_array(file: BinaryIO, limit: int) -> np.ndarray:
    """The numbers of an NPY file. Refused for more than ``limit`` along an axis, and for other types."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if not shape or dtype.kind not in "fiu":
        raise Refused(f"holds an array of shape {shape} and type {dtype}, not of numbers")
    check_points(max(shape), limit)
    file.seek(0)
    return np.load(file, allow_pickle=False)


def check_points(count: int, limit: int) -> None:
    """Refused for more points than are allowed."""
    if count > limit:
        raise Refused(f"holds {count:,} points, more than the {limit:,} allowed: thin it out first")


def read_table(file: BinaryIO, limit: int) -> np.ndarray:
    """float32 (N, 3): the columns that a header names x, y and z, or else the first three.

    Refused for more than ``limit`` points, rows of different lengths, and columns that cannot be what is meant.
    """
    lines = [line for line in _lines(decode_text(file.read()), limit) if line.strip()]
    comments = [line.lstrip("#/ ") for line in lines if line.lstrip().startswith(("#", "//"))][:MAX_COMMENTS]
    rows = [line for line in lines if not line.lstrip().startswith(("#", "//"))]
    check_points(len(rows) - 1, limit)
    headers = [names for line in comments if set(AXES) <= set(names := _names(line))]
    if rows and not _are_numbers(_cells(rows[0], _delimiter(rows[0]))[:3]):
        headers = [_names(rows.pop(0))]
        if not set(AXES) <= set(headers[0]):
            raise Refused(f"is not a point cloud: x, y and z are not among its columns {', '.join(headers[0])[:60]}")
    delimiter = _delimiter(rows[-1]) if rows else None
    return _columns([_cells(row, delimiter) for row in rows], headers[0] if headers else [])


def _lines(text: str, limit: int) -> list[str]:
    """The lines of a text, counted before any of them is split: what is too much must not cost anything."""
    lines = [line.rstrip("\n") for line in islice(io.StringIO(text, newline=None), limit + MAX_COMMENTS + 1)]
    check_points(len(lines) - MAX_COMMENTS, limit)
    if longest := max((len(line) for line in lines if len(line) > MAX_LINE), default=0):
        raise Refused(f"is not a point cloud: it has a line of {longest:,} characters")
    return lines


def _delimiter(line: str) -> str | None:
    """What divides the cells of a line; None = white space."""
    if found := next((mark for mark in (";", "\t") if mark in line), None):
        return found
    words = line.split()
    return "," if "," in line and not (len(words) > 2 and all(map(_DECIMAL_COMMA.fullmatch, words))) else None


def _cells(line: str, delimiter: str | None) -> list[str]:
    quoted = delimiter and '"' in line
    cells = next(csv.reader([line], delimiter=str(delimiter)), []) if quoted else line.split(delimiter)
    return [cell.strip(" \"'") for cell in cells]


def _names(line: str) -> list[str]:
    return [cell.lower() for cell in _cells(line, _delimiter(line))]


def _are_numbers(cells: list[str]) -> bool:
    try:
        return bool([float(cell.replace(",", ".")) for cell in cells])
    except ValueError:
        return False


def _columns(rows: list[list[str]], names: list[str]) -> np.ndarray:
    width = len(rows[0]) if rows else 3
    for number, row in enumerate(rows, start=1):
        if len(row) < 3:
            raise Refused(f"is not a point cloud: row {number} has {len(row)} columns instead of x, y and z")
        if len(row) != width:
            raise Refused(f"is not a point cloud: row {number} has {len(row)} columns, and the first has {width}")
    names = ["", *names] if len(names) == width - 1 else names  # a column that counts the rows has no name
    if names and rows and len(names) != width:
        raise Refused(f"is not a point cloud: its rows have {width} columns, and its header has {len(names)}")
    places = [names.index(axis) for axis in AXES] if names else [0, 1, 2]
    cells = [[row[place].replace(",", ".") for place in places] for row in rows]
    try:
        points = np.array(cells, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise Refused(f"is not a point cloud: {error}") from error
    counted = len(points) > 2 and width > 3 and points[0, 0] in (0, 1) and (np.diff(points[:, 0]) == 1).all()
    if counted and not names:
        raise Refused("has a first column that counts the rows: leave it out, or name the columns x, y and z")
    return points.astype(np.float32)
