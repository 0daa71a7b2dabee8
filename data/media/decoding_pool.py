"""Decoding processes that start at once, for those who take in many files.

A process of its own for each file costs the start of an interpreter and the import of the decoders. Here one process
pays that once and forks a child for each file: as far apart from everything else, as bounded in memory and time, and
ready in milliseconds. Only where processes can be forked.
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

from data.media import decoding as media_decoding

if TYPE_CHECKING:
    from data.media.loading import Limits

#: What the forking process says when a child is on its way.
_TAKEN = b"+"
#: Threads that need the pool at once wait for one of them to start it.
_ONE_STARTS = threading.Lock()


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
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "data.media.decoding_pool"],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=media_decoding.environment(),
            )  # fmt: skip

    def _send(self, request: bytes, descriptors: list[int]) -> None:
        """Hand a request over. A forking process that has died is replaced."""
        with self._lock:
            for attempt in (1, 2):
                try:
                    socket.send_fds(self._connection, [request], descriptors)
                    if self._connection.recv(1) == _TAKEN:
                        return
                except OSError:
                    pass
                if attempt == 1:
                    self.close()
                    self._start()
        raise ChildProcessError("no process could be started for it")


def decode_in_pool(file: BinaryIO, form: str, limits: Limits) -> bytes:
    """``decode`` of :func:`data.media.loading.load_medium` by a pool that is started when it is first needed, one for
    this process and all of its threads. Where processes cannot be forked, each file has a process of its own."""
    if not hasattr(os, "fork"):
        from data.media.loading import decode_in_new_process

        return decode_in_new_process(file, form, limits)
    with _ONE_STARTS:
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
        connection.send(_TAKEN)


def _decode(form: str, limits: dict, file: int, target: int) -> None:
    """The child: it ends itself when its time is over, whatever a decoder is at."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, limits["decode_seconds"])
        os.dup2(file, 0)
        with open(target, "wb") as answer:
            media_decoding.answer(form, limits, answer)
    finally:
        os._exit(0)


def import_decoders() -> None:
    """What a child would otherwise import for itself."""
    import av
    import numpy
    from PIL import Image

    from data.media import point_files

    Image.init()
    _ = av, numpy, point_files


if __name__ == "__main__":
    import_decoders()
    with socket.socket(fileno=os.dup(0)) as connection:
        serve(connection)
