"""What the suite's metrics are held to, and latency: seconds to the first reply of a cold process, and to each medium
once the model is warm.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from evaluation.statistics import Verdict
from nextgpt_lite import AnyToAny

#: metric -> (the least value, or for seconds the most; how it is printed)
TARGETS: dict[str, tuple[float, str]] = yaml.safe_load(
    Path(__file__).with_name("targets.yaml").read_text(encoding="utf-8")
)
REQUESTS = {
    "image": ("draw a red bell", "a small blue boat at the top left, please", "draw two green frogs"),
    "audio": ("play a dog", "let me hear a fast clock", "play a low drum, twice"),
    "video": ("make a video of a yellow bee moving left", "film a pink car", "a video of a spinning purple phone"),
}


def look_up(metrics: dict[str, Any], name: str) -> float | None:
    """The metric of a target: "seconds.image", "points->text", "edits"."""
    if name == "points->text":
        return metrics["matrix"].get(name, {}).get("thing")
    group, _, last = name.rpartition(".")
    return (metrics.get(group, {}) if group else metrics).get(last)


def verdicts(metrics: dict[str, Any]) -> list[Verdict]:
    """One for each target."""
    rows = []
    for name, (target, what) in TARGETS.items():
        value = look_up(metrics, name)
        is_time = name.startswith("seconds.")
        passed = None if value is None else (value <= target if is_time else value >= target)
        rows.append(Verdict(what, value, target, passed))
    return rows


def cold_first_reply(model_name: str) -> float:
    """Seconds from starting a ``chat`` process to its end, one reply included. CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nextgpt_lite.cli", "chat", "hello", "--json"]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--model", model_name, "--out", folder],
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[2],
        )
        return time.perf_counter() - started


def warm_reply(model: AnyToAny, modality: str) -> float | None:
    """Median seconds of a single reply that brings a medium of ``modality``; None where none was generated."""
    seconds = []
    for seed, request in enumerate((REQUESTS[modality][0], *REQUESTS[modality])):
        started = time.perf_counter()
        reply = model.chat([{"role": "user", "content": [{"type": "text", "text": request}]}], seed=seed)
        elapsed = time.perf_counter() - started
        if seed and any(medium.modality == modality for medium in reply.media):  # the first request only warms up
            seconds.append(elapsed)
    return statistics.median(seconds) if seconds else None
