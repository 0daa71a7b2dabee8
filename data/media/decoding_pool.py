"""Decoding processes that start in milliseconds, for callers that read many files.

A new process for each file costs the start of an interpreter and the import of the decoders. Here one process pays
that once and forks a child for each file, as isolated and as limited in memory and time as a new one. Only on systems
that can fork.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from data.media import decoding

if TYPE_CHECKING:
    from data.media.loading import Limits

#: What the forking process answers when it has started a child.
_STARTED = b"+"
#: Held while the pool of this process is started.
_POOL_LOCK = threading.Lock()


class DecodingPool:
    """Decodes files in forked processes, at most ``processes`` at a time; others wait.

    Use :meth:`decode` as ``decode`` of :func:`data.media.loading.load_medium`, from any thread.
    """

    def __init__(self, processes: int = 2) -> None:
        self._free = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()
        self._start()

    def decode(self, file: BinaryIO, form: str, limits: Limits) -> bytes:
        """What a decoding process writes. TimeoutError and ChildProcessError where it ends before it has written."""
        request = json.dumps([form, asdict(limits)]).encode()
        with self._free:
            started = time.monotonic()
            reading, writing = os.pipe()
            with open(reading, "rb") as answer:
                try:
                    self._send(request, [file.fileno(), writing])
                finally:
                    os.close(writing)
                content = answer.read()
        if not content and time.monotonic() - started >= limits.decode_seconds:
            raise TimeoutError
        if not content:
            raise ChildProcessError("its process ended")
        return content

    def close(self) -> None:
        """End the forking process."""
        self._connection.close()
        self._process.wait()

    def _start(self) -> None:
        self._connection, other_end = socket.socketpair()
        with other_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "data.media.decoding_pool"],
                stdin=other_end.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=decoding.environment(),
            )  # fmt: skip

    def _send(self, request: bytes, descriptors: list[int]) -> None:
        """Send a request. A forking process that has died is replaced."""
        with self._lock:
            for attempt in (1, 2):
                try:
                    socket.send_fds(self._connection, [request], descriptors)
                    if self._connection.recv(1) == _STARTED:
                        return
                except OSError:
                    pass
                if attempt == 1:
                    self.close()
                    self._start()
        raise ChildProcessError("no process could be started for it")


def decode_in_pool(file: BinaryIO, form: str, limits: Limits) -> bytes:
    """``decode`` of :func:`data.media.loading.load_medium` by a pool that all threads of this process share.

    It is started when it is first needed. Where processes cannot be forked, a new process is started for each file.
    """
    if not hasattr(os, "fork"):
        from data.media.loading import decode_in_new_process

        return decode_in_new_process(file, form, limits)
    with _POOL_LOCK:
        pool = _pool_of(os.getpid())
    return pool.decode(file, form, limits)


@lru_cache(maxsize=1)  # a forked copy of this process, which must not share its parent's connection, starts its own
def _pool_of(process: int) -> DecodingPool:
    pool = DecodingPool(os.cpu_count() or 2)
    atexit.register(pool.close)
    return pool


def serve(connection: socket.socket) -> None:
    """Fork a child for each request, until the other side closes. A request comes with its file and where to write."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, 65536, 2)
        if not request:
            return
        if os.fork() == 0:
            connection.close()
            _decode(*json.loads(request), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(_STARTED)


def _decode(form: str, limits: dict, file: int, target: int) -> None:
    """The child: a timer of the system ends it, whatever a decoder is doing."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, limits["decode_seconds"])
        os.dup2(file, 0)
        with open(target, "wb") as answer:
            decoding.answer(form, limits, answer)
    finally:
        os._exit(0)


def import_decoders() -> None:
    """What a child would otherwise import for itself."""
    import av
    import numpy
    from PIL import Image

    from data.media import image_files, ply_files

    Image.init()
    _ = av, numpy, image_files, ply_files


if __name__ == "__main__":
    import_decoders()
    with socket.socket(fileno=os.dup(0)) as connection:
        serve(connection)
