"""Bfloat16 on a CPU: convolutions and matrix products gain from it, fused attention loses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

#: Scores of one head up to which matrix products beat fused attention on a CPU: rows of 128 tokens over themselves.
FEW_SCORES = 128 * 128


@contextmanager
def full_precision_attention() -> Iterator[None]:
    """Within it ``F.scaled_dot_product_attention`` has its softmax in float32 on a CPU, under autocast too.

    The backward pass of torch's fused attention takes over ten times longer in bfloat16 than in float32 on a CPU; it
    was a third of a training step. So attention runs in float32, except for short rows without a mask, as dialogues and
    captions are: two matrix products in autocast's precision with the softmax between them take half of that time.
    Tensors on other devices are left alone.
    """
    fused = F.scaled_dot_product_attention

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if query.device.type != "cpu":
            return fused(query, key, value, *args, **kwargs)
        autocast = torch.is_autocast_enabled("cpu")
        if autocast and not args and query.shape[-2] * key.shape[-2] <= FEW_SCORES and _in_products(query, key, kwargs):
            return _attend_in_products(query, key, value, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return fused(query.float(), key.float(), value.float(), *args, **kwargs)

    F.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


def _in_products(query: torch.Tensor, key: torch.Tensor, settings: dict[str, Any]) -> bool:
    """Whether the products compute the same: no mask, no dropout, as many heads of keys as of queries."""
    unsupported = settings.get("attn_mask") is not None or settings.get("dropout_p")
    return not unsupported and query.shape[:-2] == key.shape[:-2]


def _attend_in_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> torch.Tensor:
    """Softmax(query key^T scale) value, of (..., T, C), (..., S, C) and (..., S, C): (..., T, C)."""
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)  # (..., T, S)
    if is_causal:
        scores = scores + torch.full(scores.shape[-2:], float("-inf"), dtype=scores.dtype, device=scores.device).triu(1)
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype) @ value
