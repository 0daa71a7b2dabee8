"""What a reply got right, attribute by attribute, and the targets that the suite's metrics are held to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from evaluation.statistics import Tally, Verdict

#: metric -> (the least value, or for seconds the most; how it is printed)
TARGETS: dict[str, tuple[float, str]] = yaml.safe_load(
    Path(__file__).with_name("targets.yaml").read_text(encoding="utf-8")
)


def agreement(expected: dict[str, Any], found: dict[str, Any] | None) -> dict[str, bool]:
    """For each expected attribute, whether it was found. ``found`` None: no such medium was generated, all wrong."""
    return {name: found is not None and found.get(name) == value for name, value in expected.items()}


def tally_attributes(answers: Iterable[dict[str, bool]]) -> dict[str, Tally]:
    """{attribute: tally} over the answers of :func:`agreement`."""
    tallies: dict[str, Tally] = {}
    for answer in answers:
        for name, right in answer.items():
            tallies.setdefault(name, Tally()).add(right)
    return tallies


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
