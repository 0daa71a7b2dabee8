"""Streams as training data: read again and again, resumed where a checkpoint left them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

#: States that are kept: the engine reads ahead of the step that it writes a checkpoint of.
STATES_KEPT = 8


class ResumableStream(IterableDataset):
    """An iterable dataset without end, which knows its state after each optimiser step.

    ``dataset`` may have ``state_dict() -> dict`` and ``load_state_dict(dict)``, as those of Hugging Face ``datasets``
    have: its state is then stored with every checkpoint, as JSON, and nothing is read twice to resume. A state that
    was loaded counts for the next pass only. Without these methods a resumed run reads the stream from its beginning
    and skips. ``set_epoch(int)`` is called before each pass where it exists.

    ``step`` is the number of samples of an optimiser step over all processes: each process reads the whole stream and
    keeps its share.
    """

    def __init__(self, dataset: IterableDataset, step: int) -> None:
        self.dataset: Any = dataset
        self.step = step
        self.passes = self.seen = 0
        self.states: OrderedDict[int, dict[str, Any]] = OrderedDict()

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
                    self._note_state()
                yield sample
            empty = empty + 1 if self.seen == before else 0
            self.passes += 1
        raise ValueError("the stream holds no sample: there is nothing to train on")

    def _note_state(self) -> None:
        state = {"seen": self.seen, "passes": self.passes, "dataset": self.dataset.state_dict()}
        self.states[self.seen // self.step] = json.loads(json.dumps(state))
        while len(self.states) > STATES_KEPT:
            self.states.popitem(last=False)

    def save(self, path: Path, steps: int) -> None:
        """Write the state after ``steps`` optimiser steps."""
        path.write_text(json.dumps(self.states[steps]) + "\n", encoding="utf-8")

    def load(self, path: Path) -> None:
        """Go on from a state that :meth:`save` wrote."""
        state = json.loads(path.read_text(encoding="utf-8"))
        self.seen, self.passes = state["seen"], state["passes"]
        self.dataset.load_state_dict(state["dataset"])
