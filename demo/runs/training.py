"""A run of ``nextgpt-lite train`` as its log and checkpoints show it: one that goes on, has ended or was killed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from data.run_files import RUN_LOG
from demo.runs.folders import MOST_BYTES, RECORD, RunFolder, is_number

FINISHED = "finished"
#: How many of the last lines the speed of a run follows from.
RECENT = 12
_END = re.compile(r"<[^<>\s]{1,40}>")
Curve = list[tuple[int, float]]  # (step, value)


@dataclass
class TrainingRun:
    """What is known of a run. Whatever its files hold, it can be shown: what cannot be read is left out."""

    folder: RunFolder
    recipe: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)  # run.json, of a run that has ended
    step: int = 0
    steps: int = 0  # of the whole run; 0 = not known
    processes: int = 1
    started: float | None = None  # when it was, or went on, the last time
    updated: float | None = None
    running: bool = False
    end: str = ""  # "finished", why it was stopped, or nothing
    curves: dict[str, Curve] = field(default_factory=dict)
    replies: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # by step
    times: Curve = field(default_factory=list)  # (step, seconds since 1970) since it was started the last time

    kind = "training"

    @property
    def title(self) -> str:
        return str(self.recipe.get("task") or "")

    @property
    def state(self) -> str:
        """running, ended or stopped."""
        return "running" if self.running else "ended" if self.end == FINISHED else "stopped"

    @property
    def why(self) -> str:
        """Why it was stopped, where it could say so."""
        return self.end if self.state == "stopped" else ""

    @property
    def phase(self) -> str:
        """What a run that goes on is at."""
        if not self.times or self.end:
            return "preparing"
        return "finishing" if self.steps and self.step >= self.steps else "training"

    @property
    def done(self) -> int:
        return self.step

    @property
    def total(self) -> int:
        return self.steps

    def last(self, name: str) -> float | None:
        """The newest value of a figure."""
        curve = self.curves.get(name)
        return curve[-1][1] if curve else None

    @property
    def peak_memory(self) -> float | None:
        """In GiB."""
        known = [value for _, value in self.curves.get("peak_memory_gib", [])]
        recorded = self.record.get("peak_memory_gib")
        return max([*known, *([float(recorded)] if is_number(recorded) else [])], default=None)

    @property
    def seconds_left(self) -> float | None:
        """By the speed of the last steps; None where it is not known."""
        recent = self.times[-RECENT:]
        if self.state != "running" or len(recent) < 2 or not self.steps:
            return None
        (first, began), (last, ended) = recent[0], recent[-1]
        return (self.steps - self.step) * (ended - began) / (last - first) if last > first else None

    @property
    def conversations(self) -> list[list[tuple[int, dict[str, Any]]]]:
        """The sample replies by conversation: of each the steps, the newest first, and what was said."""
        by_prompt: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for step, replies in sorted(self.replies.items(), reverse=True):
            for each in replies:
                by_prompt.setdefault(each["prompt"], []).append((step, each))
        return list(by_prompt.values())

    def read_line(self, line: Any) -> None:
        """Take in a line of the log (:class:`train.engine.progress.RunLog`)."""
        if not isinstance(line, dict) or not is_number(line.get("step")):
            return
        step, time = int(line["step"]), line.get("time")
        if isinstance(start := line.get("start"), dict):
            self._start(start, step, time)
        self.step = step
        if is_number(time):
            self.updated = float(time)
            if "figures" in line and (not self.times or self.times[-1][0] < step):
                self.times.append((step, float(time)))
        if isinstance(figures := line.get("figures"), Mapping):
            self._add(step, figures)
        if isinstance(replies := line.get("replies"), list):
            self.replies[step] = [_reply(each) for each in replies if isinstance(each, dict)]
        if isinstance(end := line.get("end"), str):
            self.end = end

    def _start(self, start: Mapping[str, Any], step: int, time: Any) -> None:
        """The run begins, or goes on after ``step``: what was logged of later steps is trained again."""
        recipe, steps, processes = (start.get(name) for name in ("recipe", "steps", "processes"))
        self.recipe = recipe if isinstance(recipe, dict) else {}
        self.steps, self.processes = (int(each) if is_number(each) else 0 for each in (steps, processes))
        self.end, self.started = "", float(time) if is_number(time) else None
        self.times = [(step, self.started)] if self.started else []
        self.curves = {name: [point for point in curve if point[0] <= step] for name, curve in self.curves.items()}
        self.replies = {at: replies for at, replies in self.replies.items() if at <= step} if step else {}
        if not step:
            self.curves = {}

    def _add(self, step: int, figures: Mapping[str, Any]) -> None:
        for name, value in figures.items():
            if is_number(value) and name not in ("step", "epoch"):
                self.curves.setdefault(str(name), []).append((step, float(value)))


class TrainingLogs:
    """Reads runs; of each log only what was appended since the last time."""

    def __init__(self) -> None:
        self._read: dict[RunFolder, tuple[int, int, TrainingRun]] = {}  # inode, offset, and what was read

    def read(self, folder: RunFolder) -> TrainingRun:
        run = self._from_log(folder) or _from_checkpoint(folder)
        run.running, run.record = folder.is_running, folder.read_json(RECORD)
        if not run.times and not run.end and run.record:  # of a version that wrote no log
            run.end = FINISHED
        if run.end != FINISHED:
            run.record = {}  # of a run before this one
        recipe = run.record.get("recipe")
        run.recipe = run.recipe or (recipe if isinstance(recipe, dict) else {})
        return run

    def _from_log(self, folder: RunFolder) -> TrainingRun | None:
        file = folder.open(RUN_LOG)
        if file is None:
            return None
        with file:
            found = os.fstat(file.fileno())
            inode, offset, run = self._read.get(folder, (0, 0, TrainingRun(folder)))
            if inode != found.st_ino or offset > found.st_size:
                offset, run = 0, TrainingRun(folder)
            file.seek(offset)
            text = file.read(MOST_BYTES - offset) if offset < MOST_BYTES else b""
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.splitlines():
            run.read_line(_parse(line))
        self._read[folder] = (found.st_ino, offset + len(whole), run)
        return run


def _from_checkpoint(folder: RunFolder) -> TrainingRun:
    """What the newest checkpoint knows of a run that has no log."""
    run = TrainingRun(folder)
    for name in folder.checkpoints():
        state, recipe = (folder.read_json(f"{name}/{file}") for file in ("trainer_state.json", "recipe.json"))
        history = state.get("log_history")
        if not isinstance(history, list):
            continue
        for entry in history:
            if isinstance(entry, dict) and "train_runtime" not in entry:
                run.read_line({"step": entry.get("step"), "figures": entry})
        run.recipe = recipe["recipe"] if isinstance(recipe.get("recipe"), dict) else {}
        run.steps = int(state["max_steps"]) if is_number(state.get("max_steps")) else 0
        run.updated = folder.changed(f"{name}/trainer_state.json")
        return run
    run.updated = folder.changed(RECORD)
    return run


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _reply(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A sample reply, and whether it is right: but for the token that ends it, which is not part of a reply."""
    said = {name: str(entry.get(name, "")) for name in ("prompt", "reply", "expected")}
    rest = said["expected"].removeprefix(said["reply"]).strip()
    return {**said, "right": said["expected"].startswith(said["reply"]) and (not rest or bool(_END.fullmatch(rest)))}


def smoothed(values: Iterable[float], weight: float = 0.6) -> list[float]:
    """A running mean, unbiased at its beginning."""
    total, norm, means = 0.0, 0.0, []
    for value in values:
        total, norm = weight * total + (1 - weight) * value, weight * norm + 1 - weight
        means.append(total / norm)
    return means
