"""What every layer attended to in one pass: the observer that adapters.attention calls.

Shapes: B batch, T tokens, S keys, H heads.
"""

from collections.abc import Sequence

import numpy as np
import torch


class AttentionRecord:
    """Attention weights (T, S) of one row, mean over heads, and sizes of the two terms, layer by layer.

    ``weights`` and ``text_size``, ``prompt_size`` (T,) have one entry a layer; the prompt's size is zero where a layer
    has none.
    """

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.text_size: list[torch.Tensor] = []
        self.prompt_size: list[torch.Tensor] = []

    def observe(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        scaling: float,
        mask: torch.Tensor | None,
        text: torch.Tensor,
        prompt: torch.Tensor | None,
    ) -> None:
        """One layer: query (1, H, T, width), key (1, KV heads, T, width), both terms (1, T, H, width)."""
        self.weights.append(_weights(query, key, scaling, mask).mean(1)[0])
        self.text_size.append(_size(text))
        self.prompt_size.append(_size(text).new_zeros(text.shape[1]) if prompt is None else _size(prompt))

    def shares(self, columns: Sequence[Sequence[int]]) -> np.ndarray:
        """Attention (T, 1 + M) of each position to everything else and to each of M groups of positions."""
        weights = torch.stack(self.weights).mean(0)  # (T, S)
        groups = [weights[:, list(positions)].sum(1) for positions in columns]
        rest = weights.sum(1) - sum(groups) if groups else weights.sum(1)
        return torch.stack([rest, *groups], dim=1).cpu().numpy()

    def prompt_share(self) -> np.ndarray:
        """|prompts| / (|text| + |prompts|) at each position (T,), mean over layers."""
        text, prompt = torch.stack(self.text_size), torch.stack(self.prompt_size)
        return (prompt / (text + prompt).clamp_min(1e-12)).mean(0).cpu().numpy()


def _weights(query: torch.Tensor, key: torch.Tensor, scaling: float, mask: torch.Tensor | None) -> torch.Tensor:
    """Causal attention weights (B, H, T, S) in float32; ``mask`` is boolean or additive, None = causal alone."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = (query.float() @ key.float().transpose(2, 3)) * scaling
    if mask is None:
        length = query.shape[2]
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def _size(term: torch.Tensor) -> torch.Tensor:
    """Length (T,) of what a term (1, T, H, width) adds at each position."""
    return term[0].float().flatten(1).norm(dim=-1)
