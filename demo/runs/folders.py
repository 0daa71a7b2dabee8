"""Folders of runs below the folders that the demo was given, and their files: read by name, nothing else, no links."""

from __future__ import annotations

import json
import math
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from data.run_files import RUN_LOCK, RUN_LOG, is_running

RECORD, PLAN, SAMPLES, VERDICTS, RESULTS = "run.json", "plan.json", "samples.jsonl", "verdicts.jsonl", "results.json"
#: Reports as HTML, with what stands beside each.
REPORTS = {"report.html": RESULTS, "compare.html": "compare.json"}
CHECKPOINT = "checkpoint-"
#: How deep runs are looked for, in how many folders, and for how long what was found holds, in seconds.
DEPTH, MOST_FOLDERS, SECONDS = 4, 4000, 2.0
#: The most bytes that are read of a file other than a report.
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run: ``root`` is the number of the folder that it is below, ``path`` its name from there."""

    root: int
    path: str
    folder: Path

    @property
    def name(self) -> str:
        return self.path if self.path != "." else self.folder.name

    @property
    def is_running(self) -> bool:
        """Whether a process trains or evaluates into it."""
        return is_running(self.folder)

    def open(self, name: str) -> BinaryIO | None:
        """A file of the run; None where there is none, or where a link, a pipe or a device has its name."""
        path = self.folder / name
        try:
            if path.parent.resolve() != path.parent:
                return None
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb")

    def read_json(self, name: str) -> dict[str, Any]:
        """What a JSON file holds; empty where it cannot be read, or holds anything but a mapping."""
        file = self.open(name)
        if file is None:
            return {}
        with file:
            try:
                value = json.loads(file.read(MOST_BYTES))
            except (OSError, ValueError, RecursionError):
                return {}
        return value if isinstance(value, dict) else {}

    def version(self, name: str) -> tuple[int, int, int] | None:
        """Inode, size and time (ns) of a file, which tell its versions apart; None where there is none."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            found = os.fstat(file.fileno())
            return found.st_ino, found.st_size, found.st_mtime_ns

    def changed(self, name: str) -> float | None:
        """When a file was written last, in seconds since 1970; None where there is none."""
        version = self.version(name)
        return version and version[2] / 1e9

    @property
    def report(self) -> str | None:
        """The name of its report."""
        return next((name for name in REPORTS if self.changed(name) is not None), None)

    def checkpoints(self) -> list[str]:
        """Names of its checkpoints, the newest first."""
        try:
            names = [each.name for each in os.scandir(self.folder) if each.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        return sorted(filter(_is_checkpoint, names), key=lambda name: int(name[len(CHECKPOINT) :]), reverse=True)


class RunFolders:
    """The runs below some folders. ValueError for one that is no folder."""

    def __init__(self, roots: Sequence[Path]) -> None:
        for root in roots:
            if not root.is_dir():
                raise ValueError(f"--runs {root} is no folder: expected one that holds runs of train or evaluate")
        self.roots = [root.resolve() for root in roots]
        self._lock, self._found, self._until = threading.Lock(), [], 0.0

    def found(self) -> list[RunFolder]:
        """All runs, in the order of their names."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = [run for number in range(len(self.roots)) for run in self._below(number)]
                self._until = time.monotonic() + SECONDS
            return self._found

    def find(self, root: int, path: str) -> RunFolder | None:
        """The run that a client names; None for anything that is no run in the folders, whatever it may lead to."""
        if not 0 <= root < len(self.roots) or "\0" in path:
            return None
        folder = self.roots[root] / path
        try:
            inside = folder.resolve() == folder and folder.is_relative_to(self.roots[root])
            if not inside or not _is_run([each.name for each in os.scandir(folder)]):
                return None
        except (OSError, ValueError, RuntimeError):
            return None
        return RunFolder(root, folder.relative_to(self.roots[root]).as_posix(), folder)

    def _below(self, number: int) -> Iterator[RunFolder]:
        """Neither links nor what lies in the folder of a run are followed."""
        root = self.roots[number]
        for count, (place, folders, files) in enumerate(os.walk(root)):
            folder = Path(place)
            depth = len(folder.relative_to(root).parts)
            is_run = _is_run([*folders, *files])
            if is_run:
                yield RunFolder(number, folder.relative_to(root).as_posix(), folder)
            deeper = not is_run and depth < DEPTH and count < MOST_FOLDERS
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if deeper else []


def _is_run(names: list[str]) -> bool:
    """Whether a folder with these entries is the folder of a run."""
    there = set(names)
    marks = {RUN_LOG, RUN_LOCK, RECORD, PLAN} & there or any(map(_is_checkpoint, names))
    return bool(marks) or any({page, beside} <= there for page, beside in REPORTS.items())


def _is_checkpoint(name: str) -> bool:
    return name.startswith(CHECKPOINT) and name[len(CHECKPOINT) :].isdecimal()


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a file of JSON is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)
