"""Rows of streams in bins: what does not fit into memory, or comes in archives, read as it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from data.mixture import Mixture
from data.records import BadRecord, BadRecords, Located
from train.dialogues.bins import BinnedRows
from train.dialogues.encode import Row
from train.dialogues.records import Spoken

#: Rows that are read ahead, to be sorted by length.
WINDOW = 256


class StreamedBins(IterableDataset):
    """Bins of rows (train.dialogues.bins) out of a mixture of streams, without end.

    Windows of rows are drawn, binned by length, and given out in a random order; media of their rows are references,
    embedded when their batch is made. ``state_dict`` says which window it is in and how many of its bins are out:
    taken up there, it goes on with the very same bins.

    Args:
        mixture: gives (number of the stream, Spoken or Located).
        encode: a dialogue -> its row and the media that it shows; BadRecord for one that cannot be used.
        binned: rows -> bins of similar length.
        bad: counts what cannot be used; ``check`` is called after each.
    """

    def __init__(
        self,
        mixture: Mixture,
        encode: Callable[[Spoken], tuple[Row, list[Any]]],
        binned: Callable[[list[Row]], BinnedRows],
        bad: BadRecords,
        check: Callable[[], None],
        seed: int,
        window: int = WINDOW,
    ) -> None:
        self.mixture, self.encode, self.binned = mixture, encode, binned
        self.bad, self.check, self.seed, self.size = bad, check, seed, window
        self.rows: list[Row] = []  # of the present window
        self.number = self.given = 0
        self._start = self._state()

    def __iter__(self) -> Iterator[list[Row]]:
        drawn = iter(self.mixture)
        while True:
            self._start = self._state()
            self.rows = [self._row(drawn) for _ in range(self.size)]
            bins: list[Any] = self.binned(self.rows).bins
            order = np.random.default_rng((self.seed, self.number)).permutation(len(bins))
            while self.given < len(order):
                self.given += 1
                yield bins[int(order[self.given - 1])]
            self.number, self.given = self.number + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """JSON: where the streams were when the window began, and how many of its bins are out."""
        return {**self._start, "window": self.number, "given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave; the window is drawn again."""
        self.mixture.load_state_dict(state["mixture"])
        self.bad.seen, self.number, self.given = state["seen"], state["window"], state["given"]

    def _state(self) -> dict[str, Any]:
        return {"mixture": self.mixture.state_dict(), "seen": self.bad.seen}

    def _row(self, drawn: Iterator[tuple[int, Any]]) -> Row:
        """The next row that can be used."""
        for _, one in drawn:
            self.bad.seen += 1
            try:
                if isinstance(one, Located):
                    raise BadRecord(one.problem)
                row, media = self.encode(one)
            except BadRecord as error:
                self.bad.add(one.where, str(error))
                self.check()
                continue
            row.media.extend(media)
            return row
        raise AssertionError("a mixture has no end")
