"""Point clouds from PLY files, ASCII and binary: elements in any order, properties of numbers and of lists."""

import struct
from collections import deque
from itertools import islice
from typing import BinaryIO, NamedTuple

import numpy as np

from data.media.file_formats import Refused
from data.media.point_files import AXES, check_points

#: Types of the format -> letters that struct and numpy have for them.
_TYPES = {
    **{"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"},
    **{"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I"},
    **{"int64": "q", "uint64": "Q", "float32": "f", "float64": "d"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


class Property(NamedTuple):
    """A number of an element, or a list of them whose length is a number of type ``length``."""

    name: str
    kind: str
    length: str = ""


class Element(NamedTuple):
    """``count`` rows of ``properties``."""

    name: str
    count: int
    properties: list[Property]


def read_ply(file: BinaryIO, limit: int) -> np.ndarray:
    """float32 (N, 3): x, y and z of the vertices. Refused for more than ``limit`` and where there are none."""
    form, elements = _read_header(file)
    names = [element.name for element in elements]
    vertices = elements[names.index("vertex")] if "vertex" in names else Element("", 0, [])
    if not set(AXES) <= {each.name for each in vertices.properties if not each.length}:
        raise Refused("holds no vertices with x, y and z")
    check_points(vertices.count, limit)
    for element in elements[: elements.index(vertices)]:
        _read_rows(file, element, form)
    return np.array(_read_rows(file, vertices, form), np.float64).reshape(-1, 3).astype(np.float32)


def _read_header(file: BinaryIO) -> tuple[str, list[Element]]:
    """Encoding and elements, in the order in which they follow."""
    form, elements = "", []
    for _ in range(1000):
        words = file.readline(10_000).decode(errors="replace").split()
        if words == ["end_header"]:
            break
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            elements.append(Element(words[1], int(words[2]), []))
            if elements[-1].count < 0:
                raise Refused(f"states {words[2]} rows of {words[1]}")
        elif words[:1] == ["property"] and elements:
            kinds = [word for word in words[1:-1] if word != "list"]
            if not kinds or not set(kinds) <= _TYPES.keys():
                raise Refused(f"has a property of the unknown type {' '.join(kinds)!r}")
            *length, kind = [_TYPES[kind] for kind in kinds]
            elements[-1].properties.append(Property(words[-1], kind, "".join(length)))
    else:
        raise Refused("has a PLY header without an end")
    if form not in _ORDERS:
        raise Refused(f"is a PLY file of the unknown format {form!r}")
    return form, elements


def _read_rows(file: BinaryIO, element: Element, form: str) -> "list[list[float]] | np.ndarray":
    """x, y and z, as far as it has them, of each row of an element. Refused where rows are missing."""
    if not element.properties:
        return []
    if form == "ascii":
        rows = _read_lines(file, element)
    elif any(each.length for each in element.properties):
        rows = _read_lists(file, element, _ORDERS[form])
    else:
        dtype = np.dtype([(each.name, _ORDERS[form] + each.kind) for each in element.properties])
        body = file.read(element.count * dtype.itemsize)
        table = np.frombuffer(body[: len(body) // dtype.itemsize * dtype.itemsize], dtype)
        rows = np.stack(
            [table[axis] for axis in AXES if axis in (table.dtype.names or ())] or [np.zeros(len(table))], axis=1
        )
    if len(rows) < element.count:
        raise Refused(f"is truncated: {len(rows):,} of {element.count:,} rows of {element.name} are there")
    return rows


def _read_lines(file: BinaryIO, element: Element) -> list[list[float]]:
    rows: list[list[float]] = []
    for line in islice(filter(bytes.strip, file), element.count):
        cells, row = iter(line.split()), []
        for each in element.properties:
            cell = next(cells, None)
            if cell is None:
                return rows
            if each.length:
                deque(islice(cells, int(cell)), maxlen=0)
            elif each.name in AXES:
                row.append((AXES.index(each.name), float(cell)))
        rows.append([value for _, value in sorted(row)])
    return rows


def _read_lists(file: BinaryIO, element: Element, order: str) -> list[list[float]]:
    """The rows of a binary element that has lists, whose lengths tell where the next row begins."""
    start, content, at = file.tell(), file.read(), 0
    steps = [(each, struct.Struct(order + (each.length or each.kind))) for each in element.properties]
    rows: list[list[float]] = []
    try:
        for _ in range(element.count):
            row = []
            for each, number in steps:
                [value] = number.unpack_from(content, at)
                at += number.size + (max(0, value) * struct.calcsize(order + each.kind) if each.length else 0)
                if each.name in AXES and not each.length:
                    row.append((AXES.index(each.name), value))
            rows.append([value for _, value in sorted(row)])
    except struct.error:
        pass
    file.seek(start + at)
    return rows
