"""Whether a checkpoint is what was written: it carries the sha256 of each of its files.

Of a run that is resumed the newest whole checkpoint is taken. What is wrong with a newer one is said, and nothing of
it is removed until the run comes to that step again.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from data.atomic import hash_file
from train.engine.checkpoints import RECIPE, checkpoints, step_of
from train.recipe import RecipeError

HASHES = "hashes.json"
#: What every checkpoint without hashes has: those were written before checkpoints carried any.
FORMER_FILES = ("model.safetensors", "trainer_state.json", "log_window.json")


class Found(NamedTuple):
    """The checkpoint to go on from, None = there is none; and, a sentence each, why newer ones are not taken."""

    checkpoint: Path | None
    refused: list[str]


def seal(folder: Path) -> None:
    """Write down the step and the hash of each file of a checkpoint that is still written aside."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    record = {"step": step_of(folder), "files": {name: hash_file(folder / name) for name in names}}
    (folder / HASHES).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def newest_whole(run_dir: Path) -> Found:
    """The newest checkpoint that is whole. RecipeError, with what is wrong with each, where there are damaged ones
    alone."""
    refused = []
    for checkpoint in reversed(checkpoints(run_dir)):
        damage = damage_of(checkpoint)
        if not damage:
            return Found(checkpoint, refused)
        refused.append(f"{checkpoint.name} is damaged: {damage}")
    if refused:
        raise RecipeError(f"{run_dir} has no whole checkpoint to resume from: {'; '.join(refused)}")
    return Found(None, [])


def damage_of(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint; "" where it is whole. Every file is read once, as a stream."""
    try:
        if not (checkpoint / HASHES).is_file():
            return _former_damage(checkpoint)
        record = json.loads((checkpoint / HASHES).read_bytes())
        hashes, step = dict(record["files"]), record["step"]
    except (ValueError, TypeError, LookupError):
        return f"{HASHES} cannot be read"
    except OSError as error:
        return f"{Path(error.filename).name} cannot be read: {error.strerror}"
    if step != step_of(checkpoint):
        return f"{HASHES} is that of step {step}"
    return next((f"{name} {wrong}" for name in hashes if (wrong := _wrong(checkpoint / name, hashes[name]))), "")


def _wrong(path: Path, expected: str) -> str:
    if not path.is_file():
        return "is missing"
    try:
        return "" if hash_file(path) == expected else "is not the file that was written"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _former_damage(checkpoint: Path) -> str:
    """What is missing of a checkpoint without hashes, which may be one of the former format."""
    record: Any = {}
    if (checkpoint / RECIPE).is_file():
        record = json.loads((checkpoint / RECIPE).read_bytes())
        if "format" in record:
            return f"{HASHES} is missing"
    missing = [name for name in FORMER_FILES if not (checkpoint / name).is_file()]
    missing += [
        name
        for name, pattern in (("the optimiser", "*opt*"), ("the random state", "rng_state*.pth"))
        if not any(checkpoint.rglob(pattern))
    ]
    return f"{missing[0]} is missing" if missing else ""
