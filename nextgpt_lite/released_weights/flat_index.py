"""Vectors of a faiss index that keeps them as they are (IndexFlatIP, IndexFlatL2), read without faiss.

    "IxFI" or "IxF2", width int32, count int64, 16 bytes unused, trained uint8, metric int32, numbers uint64, float32s

All little-endian. ImageBind-LLM's ``knn.index`` is such a file.
"""

import struct
from pathlib import Path

import numpy as np
import torch

from nextgpt_lite.weight_files import CheckpointError

HEADER = struct.Struct("<4siq16xBiQ")
#: Kind of index -> its metric.
KINDS = {b"IxFI": 0, b"IxF2": 1, b"IxFl": None}
#: Vectors that are looked at in one step.
BLOCK = 65536
#: How far from one the length of a unit vector may be, stored in half precision somewhere on its way.
TOLERANCE = 1e-2


def read_flat_index(path: Path, width: int) -> torch.Tensor:
    """The unit vectors (N, ``width``) of the index, mapped into memory.

    CheckpointError for another kind of index or width, a file that is cut off, and vectors that are not of length one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(HEADER.size)
    kind = start[:4]
    if kind not in KINDS:
        raise CheckpointError(
            f"{path} is no flat index of faiss: it begins with {kind!r}, expected IxFI (IndexFlatIP) or IxF2 "
            "(IndexFlatL2)"
        )
    if len(start) < HEADER.size:
        raise CheckpointError(f"{path} is cut off: it has {len(start)} bytes, the header alone has {HEADER.size}")
    _, found, count, _, metric, numbers = HEADER.unpack(start)
    if found != width:
        raise CheckpointError(f"{path} holds vectors of width {found}, the encoder's embeddings have {width}")
    if KINDS[kind] not in (None, metric) or count < 1 or numbers != count * width:
        raise CheckpointError(
            f"{path} is damaged: its header says metric {metric}, {count:,} vectors of width {found} and {numbers:,} "
            "numbers"
        )
    if size != HEADER.size + 4 * numbers:
        raise CheckpointError(
            f"{path} has {size:,} bytes, its header says {count:,} vectors of width {found}: "
            f"{HEADER.size + 4 * numbers:,}"
        )
    vectors = np.memmap(path, np.float32, "c", HEADER.size, (count, width))
    _check_units(vectors, path)
    return torch.from_numpy(vectors)


def _check_units(vectors: np.ndarray, path: Path) -> None:
    for start in range(0, len(vectors), BLOCK):
        lengths = np.linalg.norm(vectors[start : start + BLOCK], axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= TOLERANCE))  # NaN is wrong too
        if len(wrong):
            row = int(wrong[0])
            raise CheckpointError(f"{path}: vector {start + row} has length {lengths[row]:g}, expected unit vectors")
