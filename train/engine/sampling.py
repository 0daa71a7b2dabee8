"""In which order samples are seen: whole optimiser steps, for every number of processes; streams again and again."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, Sampler

#: States of a stream that are kept: the engine reads ahead of the step that it writes a checkpoint of.
STATES_KEPT = 8


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
            numbers = list(dict.fromkeys(groups))
            self.members = [[index for index, own in enumerate(groups) if own == number] for number in numbers]

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


class ResumableStream(IterableDataset):
    """An iterable dataset without end, which knows its state after each optimiser step.

    ``dataset`` may have ``state_dict() -> dict`` and ``load_state_dict(dict)``, as those of Hugging Face ``datasets``
    have: its state is then stored with every checkpoint, as JSON, and nothing is read twice to resume. A state that
    was loaded counts for the next pass only. Without these methods a resumed run reads the stream from its beginning
    and skips. ``set_epoch(int)`` is called before each pass where it exists.

    ``step``: samples of an optimiser step over all processes, each of which reads all and keeps its share.
    """

    def __init__(self, dataset: IterableDataset, step: int) -> None:
        self.dataset: Any = dataset
        self.step = step
        self.passes = self.seen = 0
        self.states: dict[int, dict[str, Any]] = {}

    @property
    def keeps_state(self) -> bool:
        """Whether the dataset can say where it is."""
        return hasattr(self.dataset, "state_dict") and hasattr(self.dataset, "load_state_dict")

    def __iter__(self) -> Iterator[Any]:
        empty = 0
        while empty < 2:  # a pass that is resumed at its very end is empty, the next one is not
            if hasattr(self.dataset, "set_epoch"):
                self.dataset.set_epoch(self.passes)
            before = self.seen
            for sample in self.dataset:
                self.seen += 1
                if self.seen % self.step == 0 and self.keeps_state:
                    self._note_state(self.seen // self.step)
                yield sample
            empty = empty + 1 if self.seen == before else 0
            self.passes += 1
        raise ValueError("the stream holds no sample: there is nothing to train on")

    def _note_state(self, steps: int) -> None:
        state = {"seen": self.seen, "passes": self.passes, "dataset": self.dataset.state_dict()}
        self.states[steps] = json.loads(json.dumps(state))
        self.states.pop(steps - STATES_KEPT, None)

    def save(self, path: Path, steps: int) -> None:
        """Write the state after ``steps`` optimiser steps."""
        path.write_text(json.dumps(self.states[steps]) + "\n", encoding="utf-8")

    def load(self, path: Path) -> None:
        """Go on from a state that :meth:`save` wrote."""
        state = json.loads(path.read_text(encoding="utf-8"))
        self.seen, self.passes = state["seen"], state["passes"]
        self.dataset.load_state_dict(state["dataset"])
