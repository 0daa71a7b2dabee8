"""A task owns a model, its data and its loss, so that one engine trains every recipe."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import Dataset

from train import TASKS
from train.recipe import Recipe
from train.settings import RecipeError, nearest, read_settings


@dataclass(frozen=True)
class SampleReply:
    """What a model answers to a conversation that training never sees, and what it should; signal tokens are shown."""

    prompt: str
    reply: str
    expected: str


@dataclass(frozen=True)
class NoSettings:
    """A task without settings of its own."""


class Task(ABC):
    """One thing that can be trained.

    Subclasses set ``model`` (``forward(**batch)`` returns ``{"loss": scalar, part: scalar, ...}``) and
    ``dataset`` in :meth:`build`: map-style, item ``i`` depends on the task's seed and ``i`` only; or iterable, see
    :class:`train.engine.sampling.ResumableStream`.
    """

    #: The frozen dataclass of the keys that ``task_settings`` of a recipe may have; see :mod:`train.settings`.
    Settings: type = NoSettings
    #: Folder of the core in the model folder, for a task that trains one.
    output: ClassVar[str | None] = None
    #: Attributes with networks that it reads and does not train, beside those in its model.
    reads: ClassVar[tuple[str, ...]] = ()
    #: Beginnings of names of frozen parameters that export() changes where they came from: checkpoints hold them too.
    stored: ClassVar[tuple[str, ...]] = ()
    #: Whether evaluate() takes the model on any device, not on the CPU alone.
    evaluates_anywhere: ClassVar[bool] = False
    #: Name of the one part of a task that trains all of its model at one rate.
    part: ClassVar[str] = "model"
    settings: Any  # an instance of Settings; tasks declare its own type
    model: nn.Module
    dataset: Dataset

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        self.settings = read_settings(self.Settings, settings, f"task {type(self).__name__}")
        self.model_dir = Path(model_dir)
        self.build()

    def build(self) -> None:
        """Set ``model``, ``dataset`` and whatever else the task has, from ``settings`` and ``model_dir``."""
        return

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Named groups of parameters; a recipe gives each a learning rate (0 = frozen). By default all as ``part``."""
        return {self.part: list(self.model.parameters())}

    def trainable_parts(self, batch: dict[str, torch.Tensor]) -> tuple[str, ...] | None:
        """The parts that this batch may change; None = all. The others keep their values, without weight decay too."""
        return None

    def sample_groups(self) -> Sequence[int] | None:
        """Of each sample of the dataset, a number: an optimiser step holds samples of one number only. None = any."""
        return None

    def denominators(self, batch: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor | float]:
        """What the loss of a batch is a mean over, so that micro-batches of different sizes make one exact mean.

        ``{"loss": n}`` where the loss as a whole is a mean over n items. Or one entry for each part of the loss, the
        same names for every batch: the model's forward then takes ``shares``, by which it multiplies its parts.
        ``{}``: all batches weigh the same.
        """
        return {}

    def describe_data(self) -> list[str]:
        """Its training data, a line each, for ``--dry-run``."""
        size = f"{len(self.dataset):,} items" if isinstance(self.dataset, Sized) else "a stream"
        return [f"{type(self.dataset).__name__}: {size}"]

    @abstractmethod
    def collate(self, items: list) -> Any:
        """Items of the dataset to a batch, or to something of which :meth:`finish` makes it."""

    def finish(self, batch: Any) -> dict[str, torch.Tensor]:
        """What :meth:`collate` gave to keyword arguments of the model, on any device. It is called when the batch is
        needed; the next one has been begun by then."""
        return batch

    def writes(self) -> str:
        """What of a model folder export() replaces: only one run at a time may train it. By default named by class."""
        return self.output or type(self).__name__

    def export_folder(self, run_dir: Path) -> Path:
        """The model folder that export() is to write into: the one that was read, or one of its own in the run's."""
        return self.model_dir

    def left_out(self) -> tuple[str, ...]:
        """Parts of the model that do not fit what is trained: the run's folder, a model of its own, goes without."""
        return ()

    @abstractmethod
    def export(self, model_dir: Path) -> None:
        """Write the trained component into the model folder."""

    def begin(self, run_dir: Path, resume: bool) -> None:
        """Called once before the first step: what a task writes about its run goes into ``run_dir``."""
        return

    def evaluate(self) -> dict[str, float]:
        """Figures on data that training never saw. Quick."""
        return {}

    def sample_replies(self) -> list[SampleReply]:
        """What the model says to some of that data; [] where it says nothing."""
        return []


def task_class(recipe: Recipe) -> type[Task]:
    """Import the class of a recipe's task. RecipeError for an unknown one."""
    if recipe.task not in TASKS:
        raise RecipeError(f"unknown task {recipe.task!r}{nearest(recipe.task, TASKS)}")
    module, _, name = TASKS[recipe.task].partition(":")
    return getattr(importlib.import_module(module), name)


def build_task(recipe: Recipe) -> Task:
    """Import and construct the recipe's task."""
    kind = task_class(recipe)
    try:
        return kind(recipe.task_settings, Path(recipe.model))
    except RecipeError:
        raise
    except (ValueError, OSError) as error:  # a component is missing or does not fit
        raise RecipeError(f"task {recipe.task!r} cannot start from {recipe.model}: {error}") from error


def expose_layers(model: nn.Module, language_model: nn.Module) -> None:
    """Let the language model inside ``model`` say which layers FSDP shards one by one, and recompute activations."""
    for name in ("_no_split_modules", "activation_checkpointing_enable", "gradient_checkpointing_enable"):
        if hasattr(language_model, name):  # of the last two, older versions of transformers have the latter alone
            setattr(model, name, getattr(language_model, name))


@contextmanager
def train_only(task: Task, names: tuple[str, ...] | None) -> Iterator[None]:
    """Inside, gradients reach the named parts only. A parameter without a gradient is left alone by the optimiser."""
    parts = {} if names is None else task.parts()
    others = [p for part, own in parts.items() if part not in (names or ()) for p in own if p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def trainable_groups(task: Task, recipe: Recipe) -> list[dict[str, Any]]:
    """Optimiser groups from the recipe's learning rates; freezes the parts whose rate is 0.

    Weight decay applies to matrices only. Raises RecipeError when the recipe names a part that the task
    does not have, or leaves one out: a forgotten part would silently train nothing.
    """
    parts = task.parts()
    for name in recipe.learning_rates:
        if name not in parts:
            raise RecipeError(f"learning_rates: unknown part {name!r}{nearest(name, parts)}")
    for name in parts:
        if name not in recipe.learning_rates:
            raise RecipeError(f"learning_rates: no rate for part {name!r} (0 freezes it)")
    task.model.requires_grad_(False)
    groups = []
    for name, parameters in parts.items():
        rate = recipe.learning_rates[name]
        for parameter in parameters:
            parameter.requires_grad_(rate > 0)
        matrices = [p for p in parameters if p.ndim >= 2 and rate > 0]
        vectors = [p for p in parameters if p.ndim < 2 and rate > 0]
        for group, decay, suffix in ((matrices, recipe.weight_decay, ""), (vectors, 0.0, ".vectors")):
            if group:
                groups.append({"params": group, "lr": rate, "weight_decay": decay, "name": f"{name}{suffix}"})
    if not groups:
        raise RecipeError("learning_rates: every part is frozen, so nothing would be trained")
    return groups
