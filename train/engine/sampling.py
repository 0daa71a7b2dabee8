"""In which order samples are seen: whole optimiser steps, the same for every number of processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class StepSampler(Sampler[int]):
    """Indices of a map-style dataset, shuffled anew each epoch and cut into optimiser steps of ``step`` samples.

    What is left over at the end of an epoch is not half a step: it is dropped, and the next epoch's order brings it
    back. So two processes see in a step what one process sees that accumulates twice as often.

    Args:
        count: samples of the dataset.
        step: samples of an optimiser step, over all processes and accumulated batches.
        seed: of the order; epoch e shuffles by ``seed + e``.
        groups: of each sample, a number; a step then holds samples of one group only.

    Raises:
        ValueError: for an empty dataset, or for groups of another length.
    """

    def __init__(self, count: int, step: int, seed: int, groups: Sequence[int] | None = None) -> None:
        if count < 1:
            raise ValueError("the dataset is empty: there is nothing to train on")
        if groups is not None and len(groups) != count:
            raise ValueError(f"{len(groups)} groups for {count} samples: expected one for each")
        self.count, self.step, self.seed, self.epoch = count, step, seed, 0
        self.members: list[Sequence[int]] = [range(count)]
        if groups is not None and step > 1:
            self.members = _members(groups)

    def __len__(self) -> int:
        return sum(max(len(own) // self.step, 1) for own in self.members) * self.step

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if len(self.members) == 1:
            yield from self._shuffled(self.count, generator)
        else:
            yield from self._by_group(generator)
        self.epoch += 1

    def _shuffled(self, size: int, generator: torch.Generator) -> list[int]:
        """Whole steps of numbers below ``size``; fewer than one step are shuffled again until they fill it."""
        wanted = max(size // self.step, 1) * self.step
        order: list[int] = []
        while len(order) < wanted:
            order += torch.randperm(size, generator=generator).tolist()
        return order[:wanted]

    def _by_group(self, generator: torch.Generator) -> Iterator[int]:
        """Steps of one group each, in any order."""
        steps = []
        for own in self.members:
            order = [own[place] for place in self._shuffled(len(own), generator)]
            steps += [order[start : start + self.step] for start in range(0, len(order), self.step)]
        for place in torch.randperm(len(steps), generator=generator).tolist():
            yield from steps[place]


def _members(groups: Sequence[int]) -> list[Sequence[int]]:
    """Indices of the samples of each group."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    return list(members.values())
