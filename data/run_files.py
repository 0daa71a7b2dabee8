"""What a run leaves in its folder while it goes, for whoever watches: lines of JSON, and a lock that says it is alive.

A training appends to ``log.jsonl``, an evaluation to ``samples.jsonl``; both hold ``.run.lock``, which the system gives
back when their process ends, however it ends.

Every room may import this module; it imports none.
"""

import fcntl
import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

RUN_LOCK, RUN_LOG = ".run.lock", "log.jsonl"
#: ``struct flock`` of Linux, with which the system is asked who holds a lock.
_FLOCK = "hhqqi4x"


def append_lines(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Append lines of JSON in one write, behind the end of a line that was cut."""
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        cut = size and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if cut else b"") + text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of JSON; one that was cut while it was written is left out."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


@contextmanager
def lock_held(folder: Path, shared: bool = False) -> Iterator[None]:
    """Within it :func:`is_running` says so of ``folder``. Several processes may hold the lock; it is removed at the end
    unless it is ``shared`` with one that goes on, and with it folders that were made for it and stayed empty."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / RUN_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with suppress(OSError):  # a training writes here: the run is refused, or goes on, for other reasons than this
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        if not shared:
            (folder / RUN_LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                for each in made:
                    each.rmdir()
        os.close(handle)


def is_running(folder: Path) -> bool:
    """Whether another process holds the lock of a run's folder. It is asked for and not tried, which could refuse a run
    that begins at this moment."""
    try:
        handle = os.open(folder / RUN_LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if sys.platform != "linux":  # other systems have the fields in another order
            return True
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, asked)
        return struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK
    except OSError:
        return False
    finally:
        os.close(handle)
