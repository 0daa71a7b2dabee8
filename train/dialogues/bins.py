"""Rows of different lengths in bins of about equal token count, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


class BinnedRows(Dataset):
    """Groups rows of similar length into bins of at most ``tokens`` padded tokens; an item is a bin.

    A row is a tuple whose first member is its list of ids. The order within a length is shuffled by
    ``seed``; the sampler of the engine shuffles the bins. ``group`` tells rows apart that share no bin: LLaVA's
    batches either have media in every row or in none (2309.09958, Sec. 2).
    """

    def __init__(self, rows: Sequence[Any], tokens: int, seed: int, group: Callable[[Any], int] | None = None) -> None:
        jitter = np.random.default_rng(seed).random(len(rows))
        groups = [0 if group is None else group(row) for row in rows]
        order = sorted(range(len(rows)), key=lambda i: (groups[i], len(rows[i][0]) + 4 * jitter[i]))
        self.bins: list[list[Any]] = [[]]
        longest = before = 0
        for i in order:
            longest, before, other = max(longest, len(rows[i][0])), groups[i], groups[i] != before
            if self.bins[-1] and (other or longest * (len(self.bins[-1]) + 1) > tokens):
                self.bins.append([])
                longest = len(rows[i][0])
            self.bins[-1].append(rows[i])

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: int) -> list[Any]:
        return self.bins[index]


def pad_rows(rows: list[list], padding: int | float) -> torch.Tensor:
    """Rows of different lengths, padded on the right (B, T)."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows])


def packed(rows: list[list[int]], labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Rows of ids end to end: ids, labels and positions (1, T) that begin anew with each row.

    ``labels`` (B, T) are those of the padded rows. The first token of a row is never asked of the row before it.
    """
    own = [label[: len(row)].clone() for row, label in zip(rows, labels, strict=True)]
    for label in own:
        label[0] = -100
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "labels": torch.cat(own)[None],
        "position_ids": torch.cat([torch.arange(len(row)) for row in rows])[None],
    }
