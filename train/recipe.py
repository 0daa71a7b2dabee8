"""Recipes: one YAML a run, read into a frozen dataclass; unknown keys are refused with the nearest known one."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data.strict_yaml import LocatedMapping, parse_yaml, read_yaml
from train.settings import RecipeError, read_settings, setting

#: The two keys of how long a run is.
LENGTHS = {"steps", "epochs"}
MISSING = "missing key 'steps', or 'epochs' in its place"
#: Folder of the recipes that come with the project.
RECIPES = Path(__file__).parent / "recipes"


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the batch that caused it has been saved."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on what, how long and how fast. Every field is a key of the YAML file."""

    task: str = setting(help="name in train.TASKS")
    steps: int = setting(0, low=1, help="optimiser steps")
    epochs: float = setting(0.0, low=0, help="passes over the data, in the place of steps")
    batch_size: int = setting(low=1, high=10**6, help="samples a step and process")
    learning_rates: dict[str, float] = setting(low=0, help="peak learning rate of each part; 0 freezes the part")
    model: str = setting("runs/nano", help="folder of the model: components are read from it and exported to it")
    task_settings: dict[str, Any] = setting({}, help="the task's own settings")
    schedule: str = setting("cosine", choices=("cosine", "linear", "constant_with_warmup"), help="of learning rates")
    warmup: float = setting(0.05, low=0, high=1, help="share of the steps that warm up")
    weight_decay: float = setting(0.01, low=0, help="of AdamW, on matrices only")
    betas: tuple[float, float] = setting((0.9, 0.99), low=0, below=1, help="of AdamW")
    max_grad_norm: float = setting(1.0, low=0, help="gradients are scaled down to this norm; 0 = never")
    lora_b_ratio: float = setting(1.0, above=0, help="LoRA+: rate of the B matrices over that of A; the paper's is 16")
    gradient_accumulation_steps: int = setting(
        1, low=1, high=10**6, alias="accumulate", help="batches a step and process"
    )
    gradient_checkpointing: bool = setting(False, help="recompute activations in the backward pass")
    bf16: bool = setting(True, help="autocast to bfloat16")
    ema: float = setting(0.0, low=0, below=1, help="decay of the exported running average of the weights; 0 = none")
    seed: int = setting(0, low=0, high=2**32 - 1)
    checkpoint_every: int = setting(200, low=1, help="steps")
    log_every: int = setting(20, low=1, help="steps")
    evaluate_every: int = setting(0, low=0, help="steps between evaluations on held-out data; 0 = after the run alone")
    best: str = setting(
        "", help="export the best weights by a figure, e.g. least loss, greatest right; none = the last"
    )
    patience: int = setting(0, low=0, help="end after as many evaluations without a better one; 0 = after all steps")
    threads: int = setting(1, low=1, high=1024, help="CPU threads")
    tracker: str = setting("tensorboard", choices=("tensorboard", "wandb", "none"))
    torch_compile: bool | Literal["auto"] = setting(False, help="compile the blocks; auto: where there is a compiler")

    def __post_init__(self) -> None:
        if bool(self.steps) == bool(self.epochs):
            raise RecipeError("steps and epochs are both given: expected one" if self.steps else MISSING)
        if self.best and self.best.split(" ")[0] not in ("least", "greatest"):
            raise RecipeError(f"best is {self.best!r}: expected least or greatest and a figure, e.g. least loss")
        for key, value, needed in (("best", self.best, "evaluate_every"), ("patience", self.patience, "best")):
            if value and not getattr(self, needed):
                raise RecipeError(f"{key} is {value!r}, which needs {needed}")
        if self.tracker == "wandb" and importlib.util.find_spec("wandb") is None:
            raise RecipeError("tracker 'wandb' needs the package wandb, which is not installed: expected tensorboard")

    def written(self) -> dict[str, Any]:
        """What a recipe's file would hold: of steps and epochs the one that is set."""
        return {key: value for key, value in self.__dict__.items() if key not in LENGTHS or value}


def read_recipe(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a YAML recipe and apply ``key=value`` overrides; a dotted key reaches into a mapping.

    ``epochs`` among them takes the place of the recipe's ``steps``, and the other way round.
    """
    path = Path(path)
    if not path.is_file() and path.parent.name == RECIPES.name:
        path = shipped_recipe(path.stem) or path  # in a folder of its own by now
    values = read_yaml(path, "recipe")
    said = LENGTHS & {override.partition("=")[0] for override in overrides}
    for length in LENGTHS - said if said else ():  # the one takes the place of the other
        values.pop(length, None)
    for override in overrides:
        _apply_override(values, override)
    return read_settings(Recipe, values, str(path))


def shipped_recipe(name: str) -> Path | None:
    """The file of a recipe that comes with the project, by its name alone; None where there is none."""
    return next(iter(sorted(RECIPES.rglob(f"{name}.yaml"))), None)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r} is not of the form key=value")
    *parents, last = key.split(".")
    target = values
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise RecipeError(f"override {override!r}: {parent!r} is not a mapping")
    if not text.strip():
        raise RecipeError(f"override {override!r} has no value: expected key=value, with null where none is meant")
    target[last] = parse_yaml(text, f"override {override!r}")
    if isinstance(target, LocatedMapping):
        target.lines.pop(last, None)
