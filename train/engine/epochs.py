"""Epochs: how many steps a pass over the data takes, and how many passes the steps of a recipe are."""

import math
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, Self

from torch.utils.data import IterableDataset

from train.recipe import Recipe
from train.settings import RecipeError


@dataclass(frozen=True)
class Epoch:
    """One pass over a dataset.

    The loader draws ``items``: bins, which hold ``records``, or single samples (None). ``per_step`` of them make an
    optimiser step, over all processes and accumulated batches; where there are fewer, a step draws some again.
    """

    items: int
    records: int | None
    per_step: int

    @classmethod
    def of(cls, dataset: Any, per_step: int) -> Self | None:
        """That of a dataset; None for a stream, which has no end."""
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            return None
        held = [getattr(part, "records", None) for part in getattr(dataset, "datasets", [dataset])]
        return cls(len(dataset), None if None in held else sum(filter(None, held)), per_step)

    def describe(self, steps: int) -> str:
        """An epoch, and how many of them ``steps`` are."""
        held = "" if self.records is None else f"{_count(self.records, 'record')} in "
        item = "sample" if self.records is None else "bin"
        taken = f"{_count(self.items / self.per_step, 'step')} of {_count(self.per_step, item)}"
        passes = _count(steps * self.per_step / self.items, "epoch")
        return f"an epoch is {held}{_count(self.items, item)}, {taken}; this run: {_count(steps, 'step')}, {passes}"


def steps_of(recipe: Recipe, epoch: Epoch | None) -> int:
    """The steps of a recipe; of one that says epochs those that draw as many items, or just more.

    RecipeError where it says epochs and the data are a stream.
    """
    if recipe.steps:
        return recipe.steps
    if epoch is None:
        raise RecipeError(f"epochs is {recipe.epochs:g}, and the data are a stream, which has no end: expected steps")
    return max(1, math.ceil(recipe.epochs * epoch.items / epoch.per_step - 1e-9))


def describe(epoch: Epoch | None, steps: int) -> str:
    """What a run is about to see of its data, as a sentence."""
    return (
        epoch.describe(steps)
        if epoch is not None
        else f"this run: {_count(steps, 'step')} on a stream, which has no epochs"
    )


def _count(number: float, word: str) -> str:
    return f"{round(number, 2):,.10g} {word}{'' if number == 1 else 's'}"
