"""Bfloat16 on a CPU: convolutions and matrix products gain from it, fused attention loses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F


@contextmanager
def full_precision_attention() -> Iterator[None]:
    """Within it ``F.scaled_dot_product_attention`` computes in float32 on a CPU, under autocast too.

    The backward pass of torch's fused attention takes over ten times longer in bfloat16 than in float32 on a CPU; it
    was a third of a training step. Tensors on other devices are left alone.
    """
    fused = F.scaled_dot_product_attention

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if query.device.type != "cpu":
            return fused(query, key, value, *args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return fused(query.float(), key.float(), value.float(), *args, **kwargs)

    F.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused
