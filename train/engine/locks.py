"""Locks of folders that two runs must not write at once. A process that has died keeps none."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.run_files import RUN_LOCK
from train.recipe import RecipeError

EXPORT_LOCK = ".export.lock"


@contextmanager
def run_locked(run_dir: Path) -> Iterator[None]:
    """Within it no other run writes to ``run_dir``. RecipeError where one does already."""
    with _locked(
        run_dir / RUN_LOCK,
        f"{run_dir} is written by another run at this moment: wait for its end, or give another folder with --out",
    ):
        yield


@contextmanager
def component_locked(model: Path, component: str) -> Iterator[None]:
    """Within it no other run trains this component of a model folder. RecipeError where one does already."""
    file = model / f".{component.replace('/', '-')}.lock"
    with _locked(
        file,
        f"{component} of the model {model} is trained by another run at this moment: wait for its end, "
        "or train a copy of the model",
    ):
        yield


@contextmanager
def export_locked(model: Path) -> Iterator[None]:
    """Within it no other run exports into a model folder: it waits until none does."""
    with _locked(model / EXPORT_LOCK):
        yield


@contextmanager
def _locked(file: Path, refusal: str = "") -> Iterator[None]:
    """Hold the lock of a file, which is there as long as the block; where ``refusal`` is "", wait for it.

    The system gives a lock back when its process ends, however it ends. Folders that are made for it and stay empty
    are removed with it.
    """
    folders = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
    handle = _take(file, refusal)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # before it is given back: who opens it now makes a file of its own
        os.close(handle)
        with suppress(OSError):  # not empty
            for folder in folders:
                folder.rmdir()


def _take(file: Path, refusal: str) -> int:
    """A handle of the file that has the lock of it."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the run that had the lock until now has removed the file, or its folder
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
                if os.path.samestat(os.fstat(handle), os.stat(file)):
                    return handle
            except (BlockingIOError, PermissionError):  # which of them depends on the system
                os.close(handle)
                raise RecipeError(refusal) from None
            os.close(handle)
