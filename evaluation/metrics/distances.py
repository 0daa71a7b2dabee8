"""Distances between two sets of media by their features: the Fréchet distance and the kernel distance.

With the features of an Inception network these are FID (1706.08500) and KID (1801.01401), with those of an audio
network FAD (1812.08466). A distance means nothing without the name of its feature network: figures by different ones
do not compare. clean-fid's and torchmetrics' figures are the same where they are installed (tests).
"""

from typing import NamedTuple

import numpy as np

#: Features (N, D) of two sets.
SUBSETS, SUBSET = 100, 1000


class Distance(NamedTuple):
    """A distance and, where it is a mean over subsets, its standard deviation."""

    value: float
    deviation: float | None = None


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the normal distributions with the means and covariances of two
    sets of features (N, D), (M, D). ValueError for fewer than two."""
    if min(len(one), len(other)) < 2:
        raise ValueError(f"a Fréchet distance needs two media of each side, not {len(one)} and {len(other)}")
    one, other = one.astype(np.float64), other.astype(np.float64)
    means = one.mean(0) - other.mean(0)
    # With S1 = A'A and S2 = B'B, tr (S1 S2)^(1/2) is the sum of the singular values of AB'. A and B are R of QR, which
    # has as few rows as there are media: a covariance of thousands of features is never decomposed.
    scaled = ((each - each.mean(0)) / (len(each) - 1) ** 0.5 for each in (one, other))
    first, second = (np.asarray(np.linalg.qr(each, mode="r")) for each in scaled)
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(means @ means + np.square(first).sum() + np.square(second).sum() - 2 * shared)


def kernel_distance(
    one: np.ndarray, other: np.ndarray, subsets: int = SUBSETS, size: int = SUBSET, seed: int = 0
) -> Distance:
    """Squared maximum mean discrepancy, unbiased, of the kernel (x y / D + 1)^3, over random subsets of ``size``."""
    size = min(size, len(one), len(other))
    if size < 2:
        raise ValueError(f"a kernel distance needs two media of each side, not {len(one)} and {len(other)}")
    rng = np.random.default_rng(seed)
    found = [
        _discrepancy(one[rng.choice(len(one), size, replace=False)], other[rng.choice(len(other), size, replace=False)])
        for _ in range(subsets if size < max(len(one), len(other)) else 1)
    ]
    return Distance(float(np.mean(found)), float(np.std(found)) if len(found) > 1 else None)


def _discrepancy(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    count, width = one.shape

    def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        base = left @ right.T / width + 1
        return base * base * base

    def others(each: np.ndarray) -> float:
        """Sum over all pairs of different media of one set."""
        own = kernel(each, each)
        return float(own.sum() - np.trace(own))

    inside = (others(one) + others(other)) / (count * (count - 1))
    return inside - 2 * float(kernel(one, other).sum()) / count**2
