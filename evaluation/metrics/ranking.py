"""Retrieval: how often what belongs together is among the nearest."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evaluation.statistics import Tally

RANKS = (1, 5, 10)


class Retrieval(NamedTuple):
    """{k: of how many queries something right is among the k nearest}, and the middle rank of the first right one."""

    recall: dict[int, Tally]
    median_rank: float


def retrieval(similarity: np.ndarray, right: np.ndarray | None = None, ranks: Sequence[int] = RANKS) -> Retrieval:
    """Recall of queries (rows) among candidates (columns) by ``similarity`` (Q, N).

    ``right`` (Q, N) says which candidates answer a query, by default the one of its own number. Of equally similar
    candidates those that are wrong count as nearer: a model that tells nothing apart finds nothing.
    """
    queries, candidates = similarity.shape
    if right is None:
        if queries != candidates:
            raise ValueError(f"{queries} queries and {candidates} candidates do not belong together one by one")
        right = np.eye(queries, dtype=bool)
    if not right.any(1).all():
        raise ValueError("a query has no right candidate: its recall is not defined")
    best = np.where(right, similarity, -np.inf).max(1, keepdims=True)
    first = (~right & (similarity >= best)).sum(1) + 1  # (Q,), from 1
    return Retrieval({k: Tally.of(bool(rank <= k) for rank in first) for k in ranks}, float(np.median(first)))
