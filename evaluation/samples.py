"""What a model has answered, kept while it answers: an evaluation that was cut goes on, and gives the same figures.

    OUT/plan.json         what the run is of: suite, model, data, cases, seed, versions
    OUT/samples.jsonl     a line a case: its replies in words, their media by file and hash
    OUT/media/HASH.npz    arrays as they were decoded
    OUT/verdicts.jsonl    a line a case: what of it is right

Batches are kept whole, so that a reply has the same neighbours, and the same rounding, however often a run was cut.
Several processes may answer parts of one run: each appends to ``samples.jsonl`` in single writes.
"""

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from data.atomic import atomic_file, write_json, write_text
from data.run_files import append_lines, read_lines
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.conversation_media import ReplyMedium

PLAN, SAMPLES, VERDICTS, MEDIA = "plan.json", "samples.jsonl", "verdicts.jsonl", "media"
PACKAGES = ("torch", "transformers", "diffusers")


class Samples:
    """The samples in ``folder``, of the run that ``plan`` describes. ValueError where they are of another run."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder, self.plan = folder, dict(plan)
        if (folder / PLAN).is_file():
            what = f"{folder} holds another run: give another --out, or --overwrite"
            check_same(read_plan(folder), self.plan, what, without=("total",))  # which a former version did not write
        else:
            write_json(folder / PLAN, self.plan, ensure_ascii=False)
        self._lines = {entry["case"]: entry for entry in read_lines(folder / SAMPLES)}

    def replies(self, case: int) -> list[Reply] | None:
        """The replies that are kept of a case, None where it has not been answered. ValueError for damaged media."""
        entry = self._lines.get(case)
        return None if entry is None else [self._reply(each) for each in entry["replies"]]

    def add(self, answered: Mapping[int, Any]) -> None:
        """Keep the conversation runs of these cases, all in one write."""
        entries = [
            {
                "case": number,
                "seed": run.case.seed,
                "asked": [[part.get("text", f"[{part['type']}]") for part in turn] for turn in run.case.turns],
                "replies": [self._entry(each) for each in run.replies],
            }
            for number, run in answered.items()
        ]
        append_lines(self.folder / SAMPLES, entries)
        self._lines |= {entry["case"]: entry for entry in entries}

    def _entry(self, reply: Reply) -> dict[str, Any]:
        media = [{**_without_array(each), "sha256": self._store(each.array)} for each in reply.media]
        return {**{name: value for name, value in asdict(reply).items() if name != "media"}, "media": media}

    def _reply(self, entry: Mapping[str, Any]) -> Reply:
        media = [
            ReplyMedium(array=self._array(each["sha256"]), **{k: v for k, v in each.items() if k != "sha256"})
            for each in entry["media"]
        ]
        return Reply(**{**entry, "media": media})

    def _store(self, array: np.ndarray) -> str:
        name = array_hash(array)
        if not self._path(name).is_file():
            with atomic_file(self._path(name)) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, array=array)
        return name

    def _array(self, name: str) -> np.ndarray:
        path = self._path(name)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                array = stored["array"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path}, a medium of a sample, cannot be read: remove {self.folder}") from error
        if array_hash(array) != name:
            raise ValueError(f"{path}, a medium of a sample, is not the one that was written: remove {self.folder}")
        return array

    def _path(self, name: str) -> Path:
        return self.folder / MEDIA / f"{name[:24]}.npz"


def plan_of(suite: str, model: AnyToAny, cases: Sequence[Any], **more: Any) -> dict[str, Any]:
    """What a run is of: whatever could change a reply."""
    return {
        "suite": suite,
        "model": {"hash": model.hash, "candidates": model.candidates},
        "cases": cases_hash(cases),
        "total": len(cases),
        **more,
        "device": model.device.type,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def cases_hash(cases: Sequence[Any]) -> str:
    """One hash of all that is put to a model: words, media and seeds of each case in order."""
    digest = hashlib.sha256()
    for case in cases:
        turns = [*(message["content"] for message in getattr(case, "history", ())), *case.turns]
        words = [[{k: v for k, v in part.items() if k != "array"} for part in turn] for turn in turns]
        digest.update(json.dumps([words, case.seed], sort_keys=True, default=str).encode())
        for part in (part for turn in turns for part in turn if "array" in part):
            digest.update(array_hash(np.asarray(part["array"])).encode())
    return digest.hexdigest()


def array_hash(array: np.ndarray) -> str:
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def check_same(found: Mapping[str, Any], expected: Mapping[str, Any], what: str, without: Sequence[str] = ()) -> None:
    """ValueError, which ends in ``what``, where two plans differ in more than ``without``."""
    for name in dict.fromkeys((*found, *expected)):
        if name not in without and found.get(name) != expected.get(name):
            raise ValueError(f"{name} {_short(found.get(name))} is not {_short(expected.get(name))}: {what}")


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan of the run in ``folder``. ValueError where there is none."""
    try:
        plan = json.loads((folder / PLAN).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no run of nextgpt-lite evaluate: {PLAN} cannot be read") from error
    if not isinstance(plan, dict):
        raise ValueError(f"{folder / PLAN} is no plan of a run")
    return plan


def remove_run(folder: Path) -> None:
    """Remove the files of a run; other files of the folder stay."""
    for name in (PLAN, SAMPLES, VERDICTS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / MEDIA, ignore_errors=True)


def write_verdicts(folder: Path, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """A line for each case, in their order: its ``group``, and ``right``, attribute -> whether it is."""
    write_text(folder / VERDICTS, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in verdicts))


def _without_array(medium: ReplyMedium) -> dict[str, Any]:
    return {name: getattr(medium, name) for name in ("modality", "rate", "signal_tokens", "seconds", "position")}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 60 else f"{text[:57]}..."
