"""How long replies take: of a cold process, and once the model is warm."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from nextgpt_lite import AnyToAny


def cold_first_reply(model_name: str) -> float:
    """Seconds from starting a ``chat`` process to its end, one reply included. CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nextgpt_lite.cli", "chat", "hello", "--json"]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--model", model_name, "--out", folder],
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[1],
        )
        return time.perf_counter() - started


def warm_reply(model: AnyToAny, requests: Sequence[str], modality: str) -> float | None:
    """Median seconds of single replies that bring a medium of ``modality``; None where none was generated."""
    seconds = []
    for seed, request in enumerate((requests[0], *requests)):
        started = time.perf_counter()
        reply = model.chat([{"role": "user", "content": [{"type": "text", "text": request}]}], seed=seed)
        elapsed = time.perf_counter() - started
        if seed and any(medium.modality == modality for medium in reply.media):  # the first request only warms up
            seconds.append(elapsed)
    return statistics.median(seconds) if seconds else None
