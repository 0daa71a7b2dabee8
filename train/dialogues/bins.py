"""Bin: rows of similar length go together, so that little of a batch is padding; lists and streams alike."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset

from data.records import BadRecords
from data.streams.mixture import Mixture
from train.dialogues.encode import Row

#: Rows of a stream that are read ahead, to be sorted by length.
WINDOW = 256


class BinnedRows(Dataset):
    """Groups rows of similar ``length`` into bins of at most ``tokens`` padded tokens; an item is a bin.

    The order within a length is shuffled by ``seed``; the sampler of the engine shuffles the bins. Rows of different
    ``group`` share no bin: LLaVA's batches either have media in every row or in none (2309.09958, Sec. 2).
    """

    def __init__(
        self,
        rows: Sequence[Any],
        tokens: int,
        seed: int,
        group: Callable[[Any], int] = lambda row: 0,
        length: Callable[[Any], int] = len,
    ) -> None:
        jitter = np.random.default_rng(seed).random(len(rows))
        groups, lengths = [group(row) for row in rows], [length(row) for row in rows]
        order = sorted(range(len(rows)), key=lambda i: (groups[i], lengths[i] + 4 * jitter[i]))
        self.bins: list[list[Any]] = [[]]
        longest = before = 0
        for i in order:
            longest, before, other = max(longest, lengths[i]), groups[i], groups[i] != before
            if self.bins[-1] and (other or longest * (len(self.bins[-1]) + 1) > tokens):
                self.bins.append([])
                longest = lengths[i]
            self.bins[-1].append(rows[i])

    def __len__(self) -> int:
        return len(self.bins)

    @property
    def records(self) -> int:
        """Rows in all bins."""
        return sum(map(len, self.bins))

    def __getitem__(self, index: int) -> list[Any]:
        return self.bins[index]


class StreamedBins(IterableDataset):
    """Bins of rows out of a mixture of streams, without end.

    Windows of rows are drawn, binned by length, and their bins are yielded in a random order. ``state_dict`` says which
    window it is in and how many of its bins have been yielded: a run that is resumed there goes on with the same bins.
    ``rows`` are drawn lazily from ``mixture``, whose state is stored with that of ``bad``; ``binned`` makes bins.
    """

    def __init__(
        self,
        mixture: Mixture,
        rows: Iterator[Row],
        binned: Callable[[list[Row]], BinnedRows],
        bad: BadRecords,
        seed: int,
        window: int = WINDOW,
    ) -> None:
        self.mixture, self.drawn, self.binned, self.bad = mixture, rows, binned, bad
        self.seed, self.size = seed, window
        self.rows: list[Row] = []  # of the present window
        self.number = self.yielded = 0
        self._start = self._state()

    def __iter__(self) -> Iterator[list[Row]]:
        while True:
            self._start = self._state()
            self.rows = list(islice(self.drawn, self.size))
            bins = self.binned(self.rows).bins
            order = np.random.default_rng((self.seed, self.number)).permutation(len(bins))
            while self.yielded < len(order):
                self.yielded += 1
                yield bins[int(order[self.yielded - 1])]
            self.number, self.yielded = self.number + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """JSON: where the streams were when the window began, and how many of its bins have been yielded."""
        return {**self._start, "window": self.number, "given": self.yielded}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave; the window is drawn again."""
        self.mixture.load_state_dict(state["mixture"])
        self.bad.seen, self.number, self.yielded = state["seen"], state["window"], state["given"]

    def _state(self) -> dict[str, Any]:
        return {"mixture": self.mixture.state_dict(), "seen": self.bad.seen}
