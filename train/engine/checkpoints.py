"""A run's checkpoints on disk, written atomically: each is complete or does not exist.

checkpoint-N/   what is trained, its running average, optimiser, schedule, random states, what they belong to
                (recipe.json: recipe, data, base), and a hash of each file (train.engine.integrity)
writing-*       a write that was cut off;  removing-*  a removal that was: both are cleared at the next start
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from train.engine.identity import changes
from train.recipe import Recipe, RecipeError

KEPT = 2
RECIPE = "recipe.json"
#: Version of a checkpoint whose files have hashes, and which holds what is trained alone.
FORMAT = 2
AFRESH = "--overwrite starts afresh"
#: Keys that may differ when a run is resumed: they change what is written and how fast it goes, not what is computed.
FREE_KEYS = {"model", "checkpoint_every", "log_every", "tracker", "threads", "gradient_checkpointing", "torch_compile"}
#: What a recipe means that does not say it, of keys that must agree.
DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Recipe)
    if field.default is not dataclasses.MISSING and field.name not in {*FREE_KEYS, "gradient_accumulation_steps"}
}
#: torch.save has no class of its own for a write that fails.
FAILED_WRITE = ("PytorchStreamWriter", "inline_container", "iostream error")


class DiskError(RuntimeError):
    """Something could not be written; a sentence says what, where and why."""


def checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoints of a run whose writing was completed, oldest first."""
    return sorted((path for path in run_dir.glob("checkpoint-*") if path.name[11:].isdecimal()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """After how many optimiser steps it was written."""
    return int(checkpoint.name.rpartition("-")[2])


def aside_of(final: Path) -> Path:
    """Where a checkpoint is written before it takes its name."""
    return final.with_name(f"writing-{final.name}")


def publish(final: Path) -> None:
    """Give a finished checkpoint its name, and remove the oldest beyond those that are kept.

    Later ones, which a run that was resumed has refused, stay until it comes to their step: they count for nothing.
    """
    remove(final)
    os.replace(aside_of(final), final)
    for old in [path for path in checkpoints(final.parent) if step_of(path) <= step_of(final)][:-KEPT]:
        remove(old)


def remove(checkpoint: Path) -> None:
    """Rename, then remove: an interrupted removal must not leave half a checkpoint under its name."""
    if checkpoint.exists():
        doomed = checkpoint.with_name(f"removing-{checkpoint.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(checkpoint, doomed)
        shutil.rmtree(doomed)


def clear_leftovers(run_dir: Path) -> None:
    """Remove what interrupted writes and removals left."""
    for path in (*run_dir.glob("writing-*"), *run_dir.glob("removing-*")):
        shutil.rmtree(path)


@contextmanager
def disk_errors(what: str, folder: Path) -> Iterator[None]:
    """Within it a failed write becomes a DiskError that says ``what`` could not be written to ``folder``."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in FAILED_WRITE):
            raise
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free / 2**20
        cause = "the disk is full" if free < 1 else str(error).splitlines()[0]
        where = f"the disk of {folder} has {free:.1f} MiB free"
        raise DiskError(f"{what} cannot be written: {cause}; {where}") from error


def flush(folder: Path) -> None:
    """Flush every file of a folder to the disk, so that a disk that is full fails here and not later."""
    for path in (folder, *folder.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class Belonging:
    """What a checkpoint belongs to: the recipe, how many processes it ran in, its data and its base.

    The latter two are as in :mod:`train.engine.identity`; None = not known yet.
    """

    recipe: Recipe
    processes: int = 1
    data: dict[str, str] | None = None
    base: dict[str, str] | None = None

    def write(self, folder: Path) -> None:
        """Store it in a checkpoint."""
        record = {"format": FORMAT, **dataclasses.asdict(self)}
        (folder / RECIPE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def check(self, folder: Path) -> None:
        """RecipeError, with what differs, unless this computes what the run of the checkpoint did.

        A step must hold the same samples; how many of them a process accumulates, and how many processes there are, may
        differ. The number of steps may not: the schedule of the learning rate is laid out over it.
        """
        if not (folder / RECIPE).is_file():
            raise RecipeError(f"{folder} does not say which recipe it belongs to (no {RECIPE}): {AFRESH}")
        stored = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        old = _comparable(stored["recipe"], stored["processes"])
        new = _comparable(json.loads(json.dumps(dataclasses.asdict(self.recipe))), self.processes)
        old = DEFAULTS | old  # a key that has come since
        wrong = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
        if wrong:
            each = ", ".join(f"{key} (was {old.get(key)!r}, is {new.get(key)!r})" for key in wrong)
            raise RecipeError(f"{folder} was trained by another recipe: {each}; {AFRESH}")
        for what, now in (("other data", self.data), ("another base", self.base)):
            before = stored.get(what.split()[1])  # which a checkpoint of the former format does not know
            if before is not None and now is not None and (changed := ", ".join(changes(before, now))):
                raise RecipeError(f"{folder} was trained on {what}: {changed}; put back what it was, or {AFRESH}")


def _comparable(values: dict[str, Any], processes: int) -> dict[str, Any]:
    """Keys of a recipe that must agree, mappings one key a value; accumulated batches count over all processes."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": own for inner, own in value.items()}
        elif key not in FREE_KEYS:
            flat[key] = value
    batches = flat.pop("accumulate", None) or flat.pop("gradient_accumulation_steps")  # the former is the older name
    return flat | {"gradient_accumulation_steps x processes": batches * processes}
