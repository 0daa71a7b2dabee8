"""Tensors in a PyTorch archive whose pickle holds more than ``weights_only`` admits. No code of the pickle is run.

The pickle may name functions and classes; each name is looked up in one table, whose entries rebuild tensors from the
archive's bytes or stand for nothing. Any other name is an error.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

DTYPES = {"FloatStorage": torch.float32, "HalfStorage": torch.float16, "LongStorage": torch.int64}


def read_pickled_tensors(archive: bytes) -> Any:
    """What a PyTorch archive holds, tensors as tensors, scalars of numpy as None. ValueError for anything else."""
    try:
        return _read(zipfile.ZipFile(io.BytesIO(archive)))
    except (pickle.UnpicklingError, zipfile.BadZipFile, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"this is not a PyTorch archive of tensors: {error}") from error


def _read(archive: zipfile.ZipFile) -> Any:
    [index] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    return _Reader(archive, index.removesuffix(".pkl")).load()


class _Reader(pickle.Unpickler):
    """``folder`` in the archive holds the bytes of each storage, under its key."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}.pkl")))
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not read")
        return NAMES[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """A storage as a tensor (elements,)."""
        _, dtype, key, _, elements = pid
        content = bytearray(self.archive.read(f"{self.folder}/{key}"))
        return torch.frombuffer(content, dtype=dtype, count=elements)


def _rebuild_tensor(storage: torch.Tensor, offset: int, shape: Any, stride: Any, *rest: Any) -> torch.Tensor:
    return torch.as_strided(storage, shape, stride, offset)


class _Nothing:
    """Stands for a value that nobody needs: it takes any arguments and any state, and keeps none."""

    def __init__(self, *arguments: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("numpy.core.multiarray", "scalar"): _Nothing,
    ("numpy._core.multiarray", "scalar"): _Nothing,
    ("numpy", "dtype"): _Nothing,
    ("_codecs", "encode"): _Nothing,
}
