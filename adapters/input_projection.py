"""Input projections: a medium's unit embedding -> input embeddings of its placeholders (NExT-GPT, Sec. 3; LLaVA).

Shapes: B batch, M media, E embedding width, n placeholders of a medium, D model width.
"""

from __future__ import annotations

import torch
from torch import nn


class LinearInput(nn.Module):
    """One linear map to all n placeholders. ``input_scale`` multiplies the unit embedding first, as in BindNetwork."""

    def __init__(self, embedding_width: int, width: int, tokens: int, input_scale: float = 1.0) -> None:
        super().__init__()
        self.width, self.tokens, self.input_scale = width, tokens, input_scale
        self.out = nn.Linear(embedding_width, tokens * width)

    def features(self, embedding: torch.Tensor) -> torch.Tensor:
        """What the output layer reads."""
        return embedding * self.input_scale

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (B, M, E) -> (B, M, n, D)."""
        return self.out(self.features(embedding)).unflatten(-1, (self.tokens, self.width))

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiply what comes out, so that it starts at the size of the language model's own embeddings."""
        self.out.weight.mul_(factor)
        self.out.bias.mul_(factor)


class MlpInput(LinearInput):
    """LLaVA's two linear layers with a GELU between (``mlp2x_gelu``); the second one serves all n placeholders."""

    def __init__(
        self, embedding_width: int, width: int, tokens: int, inner_width: int, input_scale: float = 1.0
    ) -> None:
        super().__init__(inner_width, width, tokens, input_scale)
        self.inner = nn.Linear(embedding_width, inner_width)

    def features(self, embedding: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(self.inner(embedding * self.input_scale))
