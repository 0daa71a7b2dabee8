"""A run of ``nextgpt-lite evaluate`` as its files show it: what was answered, what of it is right, its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from data.run_files import RUN_LOCK
from demo.runs.folders import MOST_BYTES, PLAN, REPORTS, SAMPLES, VERDICTS, RunFolder, is_number

#: How many of the newest answers are shown.
NEWEST = 6


@dataclass(frozen=True)
class Answer:
    """A case that was answered: what was asked in each turn, and what the model said, media by their names."""

    case: int
    turns: list[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """The cases of one group: how many were judged, and of how many each attribute is right."""

    name: str
    cases: int
    shares: dict[str, tuple[int, int]]  # attribute -> (right, judged)


@dataclass
class EvaluationRun:
    """What is known of a run."""

    folder: RunFolder
    plan: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    answered: int = 0
    newest: list[Answer] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    running: bool = False
    updated: float | None = None

    kind = "evaluation"
    end = why = ""

    @property
    def title(self) -> str:
        default = "compare" if self.report == "compare.html" else ""
        return str(self.plan.get("suite") or self.results.get("suite") or default)

    @property
    def state(self) -> str:
        """running, ended (it has a report) or stopped."""
        return "running" if self.running else "ended" if self.report else "stopped"

    @property
    def phase(self) -> str:
        """What a run that goes on is at."""
        if not self.answered:
            return "preparing"
        return "judging" if self.total and self.answered >= self.total else "answering"

    @property
    def done(self) -> int:
        return self.answered

    @property
    def total(self) -> int:
        """Cases of the whole run; 0 = not known."""
        total = self.plan.get("total")
        return int(total) if is_number(total) else 0

    @property
    def report(self) -> str | None:
        return self.folder.report

    @property
    def facts(self) -> dict[str, str]:
        """Seed, size, model and versions."""
        known = self.results | self.plan
        model, versions = known.get("model"), known.get("versions")
        facts = {name: str(known[name]) for name in ("seed", "count", "device") if name in known}
        if isinstance(model, dict) and model.get("hash"):
            facts["model"] = str(model["hash"])[:16]
        if isinstance(versions, dict):
            facts["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
        return facts


FILES = (PLAN, SAMPLES, VERDICTS, RUN_LOCK, *REPORTS, *REPORTS.values())


class Evaluations:
    """Reads runs; one whose files have not changed is read once."""

    def __init__(self) -> None:
        self._read: dict[RunFolder, tuple[tuple, EvaluationRun]] = {}

    def read(self, folder: RunFolder) -> EvaluationRun:
        now = tuple(map(folder.version, FILES))
        version, run = self._read.get(folder, ((), EvaluationRun(folder)))
        if version != now:
            run = _read_evaluation(folder)
            self._read[folder] = (now, run)
        run.running = folder.is_running
        return run


def _read_evaluation(folder: RunFolder) -> EvaluationRun:
    """The run in a folder. Whatever its files hold, it can be shown: what cannot be read is left out."""
    answers = {int(each["case"]): each for each in _lines(folder, SAMPLES) if is_number(each.get("case"))}
    return EvaluationRun(
        folder,
        folder.read_json(PLAN),
        _results(folder),
        len(answers),
        [_answer(case, answers[case]) for case in list(answers)[: -NEWEST - 1 : -1]],
        _groups(folder),
        updated=max(filter(None, map(folder.changed, FILES)), default=None),
    )


def _results(folder: RunFolder) -> dict[str, Any]:
    return folder.read_json(REPORTS[folder.report]) if folder.report else {}


def _answer(case: int, entry: dict[str, Any]) -> Answer:
    """An entry of :class:`evaluation.samples.Samples`."""
    asked, replies = _list(entry, "asked"), _list(entry, "replies")
    turns = []
    for parts, reply in zip(asked, replies, strict=False):
        reply = reply if isinstance(reply, dict) else {}
        media = [each for each in _list(reply, "media") if isinstance(each, dict)]
        said = [str(reply.get("text", "")), *(f"[{each.get('modality')}]" for each in media)]
        turns.append((" ".join(map(str, parts if isinstance(parts, list) else [parts])), " ".join(filter(None, said))))
    return Answer(case, turns)


def _list(entry: dict[str, Any], name: str) -> list[Any]:
    value = entry.get(name)
    return value if isinstance(value, list) else []


def _groups(folder: RunFolder) -> list[Group]:
    counts: dict[str, int] = {}
    shares: dict[str, dict[str, tuple[int, int]]] = {}
    for verdict in _lines(folder, VERDICTS):
        name, right = str(verdict.get("group", "")), verdict.get("right")
        counts[name] = counts.get(name, 0) + 1
        own = shares.setdefault(name, {})
        for attribute, value in right.items() if isinstance(right, dict) else ():
            if isinstance(value, bool):
                good, judged = own.get(attribute, (0, 0))
                own[attribute] = (good + value, judged + 1)
    return [Group(name, count, shares[name]) for name, count in counts.items()]


def _lines(folder: RunFolder, name: str) -> Iterator[dict[str, Any]]:
    """Mappings in a file of JSON lines; a line that was cut is left out."""
    file = folder.open(name)
    if file is None:
        return
    with file:
        for line in file.read(MOST_BYTES).splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield entry
