"""Atomic writing of files and folders (a reader sees the old content or the new, never half of it), and sha256 sums.

    with atomic_file(path) as temporary:      # a path in the same folder, with the same suffix
        save_file(tensors, temporary)
    with atomic_folder(out) as temporary:     # a new, empty folder beside ``out``
        model.save_pretrained(temporary)

Every room may import this module; it imports none.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` when the block succeeds.

    The folder of ``path`` is created when it is missing, the mode of a file that is replaced is kept. When the block
    raises, the temporary file is removed and ``path`` stays as it was.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "writing")
    try:
        yield temporary
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """A new folder beside ``folder`` to fill; it takes the place of ``folder`` when the block succeeds.

    When the block raises, the new folder is removed and ``folder`` stays as it was.
    """
    folder = Path(folder).absolute()
    temporary = _beside(folder, "writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new_folder(folder: Path) -> None:
    """ValueError where ``folder`` is anything but a folder that is missing or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something already: give a new folder")


def replace_folder(new: Path, folder: Path) -> None:
    """Rename ``new`` to ``folder``. What stood there is removed afterwards, and put back when the renaming fails."""
    if not folder.is_dir():
        os.replace(new, folder)
        return
    old = _beside(folder, "removing")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        os.replace(old, folder)
        raise
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old)


def recover_folders(folder: str | Path) -> None:
    """Put back what a process that was killed in :func:`replace_folder` had moved aside, in ``folder`` and one below.

    No other process may be replacing folders there. What was moved aside and has been replaced is removed.
    """
    for pattern in (".removing-*", "*/.removing-*"):
        for old in Path(folder).glob(pattern):
            current = old.with_name(old.name.split("-", 2)[2])
            if not current.exists():
                os.replace(old, current)
            elif old.is_symlink():
                old.unlink()
            else:
                shutil.rmtree(old)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, **options: Any) -> None:
    """Write ``value`` as indented JSON with a final newline, atomically. ``options`` are those of json.dumps."""
    write_text(path, json.dumps(value, indent=2, **options) + "\n")


def hash_file(path: str | Path) -> str:
    """sha256 of a file's content, read as a stream."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: str | Path) -> str:
    """sha256 over the relative names and the contents of all files below ``folder``, in the order of their names."""
    folder = Path(folder)
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _beside(path: Path, what: str) -> Path:
    """A hidden name in the same folder that no other process uses; it ends like ``path``, for writers that look."""
    return path.with_name(f".{what}-{os.getpid()}-{path.name}")
