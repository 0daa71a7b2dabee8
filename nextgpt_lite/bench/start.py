"""A cold start: from the start of a process to the last word of its first reply, as ``nextgpt-lite chat`` does it.

    nextgpt-lite bench start

Processes with the quick core (nextgpt_lite.decoding.quick_core) and with the whole one take turns on one thread; CPU
seconds are compared, which other work on the machine changes least. Reading files from a cold disk is not in them.
"""

import os
import resource
import statistics
import subprocess
import sys
from typing import Any

from nextgpt_lite.checkpoint import EMBEDDED, WEIGHTS, missing_parts

ROUNDS = 3
#: What a process runs. It ends as the command line does, without taking modules apart.
CODE = """
import os, sys
from nextgpt_lite.any_to_any import AnyToAny
model = AnyToAny.from_pretrained(sys.argv[1], device="cpu", quick=sys.argv[2] == "quick")
model.chat([{"role": "user", "content": "hello"}], allowed_media=())
os._exit(0)
"""
KINDS = ("quick", "whole")
EXPECTED = 1.5


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """Of each embedded model whose parts are there: CPU seconds (median) of both kinds, their ratio and its spread."""
    models = [name for name in EMBEDDED if not missing_parts(WEIGHTS / name)]
    return {name: compare(name, rounds) for name in models} | {"expected_whole_to_quick": EXPECTED}


def compare(model: str, rounds: int) -> dict[str, float]:
    for kind in KINDS:  # files are in memory, the kernel is compiled
        cpu_seconds(model, kind)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            seconds[kind].append(cpu_seconds(model, kind))
    ratios = [whole / quick for quick, whole in zip(seconds["quick"], seconds["whole"], strict=True)]
    figures = {kind: statistics.median(values) for kind, values in seconds.items()}
    return figures | {"whole_to_quick": statistics.median(ratios), "spread": max(ratios) - min(ratios)}


def cpu_seconds(model: str, kind: str) -> float:
    """CPU time of a process, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, model, kind]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
