"""What each micro-batch counts for in the loss of an optimiser step.

A loss that is a mean over tokens or spans is not the mean of the losses of its micro-batches, since these differ in
size. Here each part of a micro-batch's loss is scaled by its share of what the whole step, over all processes, is a
mean over: accumulation and several processes then give the loss and the gradients of one large batch.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from train.engine.processes import mean_over_processes, sum_over_processes
from train.task import Task

#: The part of a loss that is one mean as a whole.
ALL = "loss"


def total_denominators(task: Task, batches: list[dict[str, Any]], device: torch.device) -> dict[str, float] | None:
    """What each part of a step's loss is a mean over, summed over its micro-batches and all processes.

    None where the task's batches weigh the same.
    """
    counted = [task.denominators(batch) for batch in batches]
    if not counted or not counted[0]:
        return None
    names = list(counted[0])
    sums = sum_over_processes([sum(float(own[name]) for own in counted) for name in names], device)
    return dict(zip(names, sums, strict=True))


def shares(task: Task, batch: dict[str, Any], totals: Mapping[str, float], processes: int) -> dict[str, float]:
    """The share of each part of a micro-batch's loss, times ``processes``: gradients are averaged over them."""
    own = task.denominators(batch)
    return {name: processes * float(own[name]) / total if total else 0.0 for name, total in totals.items()}


class PartMeans:
    """Means of the parts of the loss over the steps since the last call of :meth:`means`."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def add(self, parts: Iterable[tuple[str, torch.Tensor]], scale: Mapping[str, float], otherwise: float) -> None:
        """Add the parts of a micro-batch, each times its share, ``otherwise`` where it has none."""
        for name, value in parts:
            share = scale.get(name, scale.get(ALL, otherwise))
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach()) * share

    def means(self, steps: int) -> dict[str, float]:
        """Means over ``steps`` steps and all processes; starts anew. Every process must call it."""
        means = {name: round(total / steps, 5) for name, total in mean_over_processes(self.sums).items()}
        self.sums = {}
        return means
