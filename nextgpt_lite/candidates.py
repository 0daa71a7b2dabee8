"""Of several candidates for a medium, the one that the others agree with.

A decoder's sample that went wrong goes wrong in a way of its own; those that are right show the same thing. So the
candidate whose embedding lies nearest to all others is chosen: minimum Bayes risk with the cosine as gain, as machine
translation chooses among its samples (2108.04718). It needs no caption, in no language, and no judge but the encoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

#: Between the seeds of a medium's candidates; the first candidate has the seed of the medium itself.
SEED_STEP = 1_000_003


def candidate_seeds(seed: int, count: int) -> list[int]:
    """Seeds of ``count`` candidates."""
    return [seed + SEED_STEP * number for number in range(count)]


@torch.no_grad()
def agreed_on(encoder: Any, modality: str, candidates: list[np.ndarray], rate: float | None) -> int:
    """The number of the candidate that is most like the others; the first of equals."""
    if len(candidates) < 3:
        return 0  # two are as like each other either way
    device = next(encoder.parameters()).device
    batch = torch.stack([encoder.preprocess(modality, array, rate) for array in candidates]).to(device)
    units = F.normalize(encoder.embed(modality, batch).float(), dim=-1)  # (candidates, E)
    return int((units @ units.T).sum(dim=1).argmax())
