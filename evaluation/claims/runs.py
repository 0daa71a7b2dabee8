"""Runs of an experiment: each is trained by ``nextgpt-lite train`` and measured once, and kept.

    OUT/EXPERIMENT/seedN/RUN/model/          the parts that it starts from, as links, and what it trained
    OUT/EXPERIMENT/seedN/RUN/training/       the folder of the training run, checkpoints while it goes on
    OUT/EXPERIMENT/seedN/RUN/figures.json    written last: what it was run with, and its figures

A run with figures is not run again; one that was killed goes on from its checkpoint.
"""

import contextlib
import hashlib
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data.atomic import hash_file, hash_folder, write_json
from data.strict import read_json
from data.texts import pydoc_topics
from evaluation.claims.experiments import Plan, Run
from evaluation.claims.measures import MEASURES
from nextgpt_lite import cli
from nextgpt_lite.checkpoint import WEIGHTS

RECORD = "figures.json"
#: Exit code of a command that was given bad input.
FAILED = 2
#: As a value in an experiment: the folder of texts.
TEXTS = "{texts}"
#: Characters of the least topic of Python's reference that is worth a file.
LEAST_TEXT = 1500


class TrainingEnded(Exception):
    """A training ended without a result: it failed, and has said why, or it was interrupted. ``code`` is its own."""

    def __init__(self, folder: Path, code: int) -> None:
        how = "failed" if code == FAILED else "was interrupted: the same command goes on from there"
        super().__init__(f"the training in {folder} {how}")
        self.code = code


@dataclass(frozen=True)
class SeededRun:
    """A run of a plan with one seed, under ``out``."""

    plan: Plan
    name: str
    seed: int
    out: Path

    @property
    def run(self) -> Run:
        return self.plan.runs[self.name]

    @property
    def folder(self) -> Path:
        return self.out / self.plan.name / f"seed{self.seed}" / self.name

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def start(self) -> "SeededRun | None":
        """The run that it starts from."""
        return SeededRun(self.plan, self.run.start, self.seed, self.out) if self.run.start else None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What its figures depend on."""
        known = {"run": asdict(self.run), "recipe": hash_file(self.run.file), "seed": self.seed}
        if self.start is not None:
            return known | {"from": self.start.settings}
        return known | {"from": {name: hash_folder(WEIGHTS / "nano" / name) for name in self.plan.settings.parts}}

    def figures(self) -> dict[str, float] | None:
        """What was measured; None where it has not been run yet. ValueError where it was run with other settings."""
        path = self.folder / RECORD
        if not path.is_file():
            return None
        record = read_json(path)
        if record["settings"] != self.settings:
            other = f"{path} is of other settings than the experiment {self.plan.name} has"
            raise ValueError(f"{other}: give another --out")
        return record["figures"]

    def complete(self) -> dict[str, float]:
        """Its figures, after training and measuring where there are none. TrainingEnded, see there."""
        if (found := self.figures()) is not None:
            return found
        started = time.process_time()
        self._link_parts()
        self._train()
        training = read_json(self.folder / "training/run.json")
        figures = dict(training["figures"])
        for name, settings in self.run.measure.items():
            figures |= MEASURES[name](self.folder, self.seed, self._filled(settings))
        seconds = {"training": training["seconds"], "processor": round(time.process_time() - started, 1)}
        write_json(self.folder / RECORD, {"settings": self.settings, "seconds": seconds, "figures": figures})
        for checkpoint in (self.folder / "training").glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        return figures

    def _link_parts(self) -> None:
        """Links to the parts that it starts from: those of an earlier run, or of nano."""
        self.model.mkdir(parents=True, exist_ok=True)
        if self.start is None:
            parts = [WEIGHTS / "nano" / name for name in self.plan.settings.parts]
        else:
            parts = [path for path in self.start.model.iterdir() if path.name != "manifest.json"]
        for part in parts:
            link = self.model / part.name
            if not link.exists():
                link.symlink_to(part.resolve(), target_is_directory=part.is_dir())

    def _train(self) -> None:
        words = [f"{key}={json.dumps(value)}" for key, value in self._filled(self.run.values).items()]
        words += [f"model={self.model}", f"seed={self.seed}", f"task_settings.seed={self.seed}", "tracker=none"]
        command = ["train", str(self.run.file), *words, "--resume", "--out", str(self.folder / "training")]
        with (self.folder / "training.log").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            code = cli.main(command)
        if code:
            raise TrainingEnded(self.folder, code)

    def _filled(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values with the folder of texts in the place of its name."""
        return {key: str(texts_folder(self.out)) if value == TEXTS else value for key, value in values.items()}


def texts_folder(out: Path) -> Path:
    """Python's own reference as a folder of texts, one topic a file: English prose that every Python brings."""
    folder = out / "texts"
    if not folder.is_dir():
        aside = out / f"texts-{hashlib.sha256(sys.version.encode()).hexdigest()[:8]}"
        aside.mkdir(parents=True, exist_ok=True)
        for number, topic in enumerate(pydoc_topics()):
            if len(topic) >= LEAST_TEXT:
                (aside / f"topic{number:03}.txt").write_text(topic, encoding="utf-8")
        aside.replace(folder)
    return folder
