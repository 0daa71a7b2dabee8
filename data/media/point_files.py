"""Arrays from NPY files; point clouds from PLY (ASCII and binary) and tables of numbers (XYZ, CSV)."""

from typing import BinaryIO

import numpy as np

from data.media.file_formats import Refused

_PLY_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}


def read_points(file: BinaryIO, form: str, limit: int) -> np.ndarray:
    """float32 (N, 3): x, y and z as the file gives them, further columns left out.

    ``form`` is PLY or text. Refused for more than ``limit`` points and for anything that is no point cloud.
    """
    return {"PLY": _read_ply, "text": _read_text}[form](file, limit)


def read_array(file: BinaryIO, limit: int) -> np.ndarray:
    """The numbers of an NPY file. Refused for more than ``limit`` along the first axis, and for other types."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if not shape or dtype.kind not in "fiu":
        raise Refused(f"holds an array of shape {shape} and type {dtype}, not of numbers")
    _check_points(shape[0], limit)
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _check_points(count: int, limit: int) -> None:
    if count > limit:
        raise Refused(f"holds {count:,} points, more than the {limit:,} allowed: thin it out first")


def _read_text(file: BinaryIO, limit: int) -> np.ndarray:
    lines = file.read().decode("utf-8-sig").replace(",", " ").replace(";", " ").splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if rows and rows[0][0].lower().strip('"') == "x":
        rows = rows[1:]
    return _columns(rows, limit)


def _columns(rows: list[list[str]], limit: int) -> np.ndarray:
    _check_points(len(rows), limit)
    for number, row in enumerate(rows, start=1):
        if len(row) < 3:
            raise Refused(f"is not a point cloud: row {number} has {len(row)} columns instead of x, y and z")
    try:
        return np.array([row[:3] for row in rows], dtype=np.float32).reshape(-1, 3)
    except ValueError as error:
        raise Refused(f"is not a point cloud: {error}") from error


def _read_ply(file: BinaryIO, limit: int) -> np.ndarray:
    form, count, properties = _read_ply_header(file)
    _check_points(count, limit)
    names = [name for name, _ in properties]
    if not {"x", "y", "z"} <= set(names):
        raise Refused("holds no vertices with x, y and z as its first element")
    if form == "ascii":
        rows = [line.split() for _, line in zip(range(count), file, strict=False)]
        if len(rows) < count or any(len(row) < len(names) for row in rows):
            raise Refused(f"is truncated: fewer than the {count:,} points that it states are there")
        places = [names.index(axis) for axis in "xyz"]
        return _columns([[row[place].decode("ascii") for place in places] for row in rows], limit)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[form]
    dtype = np.dtype([(name, order + kind) for name, kind in properties])
    body = file.read(count * dtype.itemsize)
    if len(body) < count * dtype.itemsize:
        raise Refused(f"is truncated: {len(body) // dtype.itemsize:,} of {count:,} points are there")
    vertices = np.frombuffer(body, dtype)
    return np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float32)


def _read_ply_header(file: BinaryIO) -> tuple[str, int, list[tuple[str, str]]]:
    """Encoding, number of vertices, and (name, numpy type) of each vertex property."""
    form, count, element, properties = "", 0, "", []
    for _ in range(1000):
        words = file.readline(1000).decode("ascii").split()
        if words == ["end_header"]:
            break
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            element = "vertex" if words[1] == "vertex" and not element else f"not {words[1]}"
            count = int(words[2]) if element == "vertex" else count
        elif words[:1] == ["property"] and element == "vertex":
            properties.append((words[-1], _PLY_TYPES[words[1]]))
    else:
        raise Refused("has a PLY header without an end")
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise Refused(f"is a PLY file of the unknown format {form!r}")
    return form, count, properties
