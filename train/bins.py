"""Rows of different lengths in bins of about equal token count, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset


class BinnedRows(Dataset):
    """Groups rows of similar length into bins of at most ``tokens`` padded tokens; an item is a bin.

    A row is a tuple whose first member is its list of ids. The order within a length is shuffled by
    ``seed``; the sampler of the engine shuffles the bins.
    """

    def __init__(self, rows: Sequence[tuple], tokens: int, seed: int) -> None:
        jitter = np.random.default_rng(seed).random(len(rows))
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + 4 * jitter[i])
        self.bins: list[list[tuple]] = [[]]
        longest = 0
        for i in order:
            longest = max(longest, len(rows[i][0]))
            if self.bins[-1] and longest * (len(self.bins[-1]) + 1) > tokens:
                self.bins.append([])
                longest = len(rows[i][0])
            self.bins[-1].append(rows[i])

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: int) -> list[tuple]:
        return self.bins[index]


def pad_rows(rows: list[list], padding: int | float) -> torch.Tensor:
    """Rows of different lengths, padded on the right (B, T)."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows])
