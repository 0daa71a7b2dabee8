"""Folders that end with their process: at its end, or at the next start if it was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new temporary folder, in which all temporary files of this process and its children lie meanwhile.

    Folders of this kind whose process is dead are deleted first.
    """
    place = Path(tempfile.gettempdir())
    for old in place.glob(f"{prefix}*"):
        _remove_dead(old)
    # It has its name only once it is locked: else another start could take it for a dead process's.
    hidden = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=place))
    descriptor = lock(hidden)
    folder = hidden.rename(place / hidden.name[1:])
    try:
        with temporary_files_in(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Temporary files of this process and its children lie in ``folder`` meanwhile."""
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable


def lock(folder: Path) -> int | None:
    """Lock a folder until this process ends; the descriptor that holds the lock, None if another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_dead(folder: Path) -> None:
    try:
        descriptor = lock(folder)
    except OSError:  # it is another user's, or has gone meanwhile
        return
    if descriptor is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
