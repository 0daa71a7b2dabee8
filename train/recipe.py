"""Recipes: one YAML a run, read into a frozen dataclass; unknown keys are refused with the nearest known one."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

SCHEDULES = ("cosine", "linear", "constant_with_warmup")
TRACKERS = ("tensorboard", "wandb", "none")


class RecipeError(ValueError):
    """A recipe that cannot be run, with a sentence that says why."""


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the batch that caused it has been written aside."""


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, how long and how fast. Every field is a key of the YAML file."""

    task: str  #: name in train.TASKS
    steps: int  #: optimiser steps
    batch_size: int  #: samples a step and process
    learning_rates: dict[str, float]  #: peak learning rate of each part of the task; 0 freezes the part
    model: str = "runs/nano"  #: folder of the model being built: components are read from it and exported to it
    task_settings: dict[str, Any] = field(default_factory=dict)  #: the task's own settings
    schedule: str = "cosine"  #: cosine, linear or constant_with_warmup
    warmup: float = 0.05  #: share of the steps that warm up
    weight_decay: float = 0.01  #: AdamW, on matrices only
    betas: tuple[float, float] = (0.9, 0.99)  #: AdamW
    max_grad_norm: float = 1.0
    lora_b_ratio: float = (
        1.0  #: LoRA+: learning rate of LoRA's B matrices over that of its A matrices; the paper's is 16
    )
    accumulate: int = 1  #: batches of a process that make a step
    gradient_checkpointing: bool = False  #: compute activations again in the backward pass instead of keeping them
    bf16: bool = True  #: autocast to bfloat16
    ema: float = 0.0  #: decay of the exported running average of the weights; 0 = none
    seed: int = 0
    checkpoint_every: int = 200
    log_every: int = 20
    threads: int = 1  #: CPU threads
    tracker: str = "tensorboard"  #: tensorboard, wandb or none
    torch_compile: bool | Literal["auto"] = False  #: compile the model's blocks: slow to start, faster from then on;
    #: "auto": where there is something to compile with

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise RecipeError(f"schedule {self.schedule!r} is unknown{nearest(self.schedule, SCHEDULES)}")
        if self.tracker not in TRACKERS:
            raise RecipeError(f"tracker {self.tracker!r} is unknown{nearest(self.tracker, TRACKERS)}")
        if self.tracker == "wandb" and importlib.util.find_spec("wandb") is None:
            raise RecipeError("tracker 'wandb' needs the package wandb, which is not installed: expected tensorboard")
        for name in ("steps", "batch_size", "checkpoint_every", "log_every", "threads", "accumulate"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.lora_b_ratio <= 0:
            raise RecipeError(f"lora_b_ratio must be above 0, not {self.lora_b_ratio}")


def read_recipe(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a YAML recipe and apply ``key=value`` overrides; a dotted key reaches into a mapping."""
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"no recipe at {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds no mapping of keys to values")
    for override in overrides:
        _apply_override(values, override)
    return recipe_from_mapping(values, str(path))


def recipe_from_mapping(values: dict[str, Any], origin: str = "recipe") -> Recipe:
    """Check the keys and types of ``values`` and build the recipe."""
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    for key in values:
        if key not in known:
            raise RecipeError(f"{origin}: unknown key {key!r}{nearest(key, known)}")
    missing = [n for n in ("task", "steps", "batch_size", "learning_rates") if n not in values]
    if missing:
        raise RecipeError(f"{origin}: missing key {missing[0]!r}")
    converted = {name: _convert(origin, known[name], value) for name, value in values.items()}
    return Recipe(**converted)


def nearest(key: str, known) -> str:
    """``": did you mean 'x'?"`` when a known name is close, else the list of known names."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else f": expected one of {', '.join(known)}"


def check_settings(settings: dict[str, Any], defaults: dict[str, Any], task: str) -> dict[str, Any]:
    """A task's defaults updated by ``settings``; an unknown setting is refused."""
    for key in settings:
        if key not in defaults:
            raise RecipeError(f"task {task}: unknown setting {key!r}{nearest(key, defaults)}")
    return {**defaults, **settings}


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
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {override!r}: {text!r} is not a YAML value") from error


def _convert(origin: str, known: dataclasses.Field, value: Any) -> Any:
    """YAML reads 1e-3 as a string and 1 as an int; convert what is meant, refuse the rest."""
    try:
        match known.type:
            case "int":
                if isinstance(value, bool) or int(value) != float(value):
                    raise ValueError
                return int(value)
            case "float":
                return float(value)
            case "bool":
                if not isinstance(value, bool):
                    raise ValueError
                return value
            case text if text.startswith("bool | Literal"):
                if not isinstance(value, bool) and value != "auto":
                    raise ValueError
                return value
            case "dict[str, float]":
                return {str(k): float(v) for k, v in value.items()}
            case "tuple[float, float]":
                first, second = value
                return float(first), float(second)
            case "dict[str, Any]":
                return dict(value)
            case _:
                return str(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise RecipeError(f"{origin}: {known.name} must be of type {known.type}, not {value!r}") from error
