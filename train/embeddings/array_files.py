"""Arrays that take long to make, stacked in files under a key of what they depend on."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.atomic import atomic_file


def cached(cache_dir: str | Path, key: str, count: int, make: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """The ``count`` arrays that ``make()`` yields, stacked: read from ``cache_dir``, or made and written there."""
    path = Path(cache_dir) / f"{key}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:  # runs side by side wait for what one of them is making
            if sys.platform != "win32":  # which has no such lock: there both make the file
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                arrays = tqdm(make(), total=count, desc=f"making {key.rpartition('-')[0]}", mininterval=5)
                with atomic_file(path) as temporary:
                    _write(temporary, arrays, count)
    return np.load(path, mmap_mode="c")  # copy-on-write: torch refuses read-only arrays


def _write(path: Path, arrays: Iterable[np.ndarray], count: int) -> None:
    """Stack ``arrays`` into an .npy file one by one, so that a pool never has to fit in memory."""
    stacked = None
    for index, array in enumerate(arrays):
        if stacked is None:
            stacked = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=(count, *array.shape))
        stacked[index] = array
    if stacked is None:
        raise ValueError(f"a pool of {count} items: at least one is needed")
    stacked.flush()
