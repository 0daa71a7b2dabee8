"""The bind network: from the joint embedding space to the width of the language model (2309.03905, Sec. 3.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class BindBlock(nn.Module):
    """x + f2(silu(f1(n)) * f3(n)) with n = RMSNorm(x)."""

    def __init__(self, width: int, inner_width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.f1 = nn.Linear(width, inner_width, bias=False)
        self.f2 = nn.Linear(inner_width, width, bias=False)
        self.f3 = nn.Linear(width, inner_width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        return x + self.f2(functional.silu(self.f1(normed)) * self.f3(normed))


class BindNetwork(nn.Module):
    """Unit embeddings (B, M, embedding width) -> prompts (B, M, model width).

    The paper's sizes are 1024 -> 4096, three blocks, inner width 16384. ``input_scale`` multiplies the unit
    embedding first: 1 as in the paper; sqrt(embedding width) gives coordinates of about unit size, which a
    network trained from nothing in minutes needs.
    """

    def __init__(
        self, embedding_width: int, width: int, inner_width: int, blocks: int = 3, input_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.input_scale = input_scale
        self.projection = nn.Linear(embedding_width, width)
        self.blocks = nn.ModuleList(BindBlock(width, inner_width) for _ in range(blocks))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        x = self.projection(embedding * self.input_scale)
        for block in self.blocks:
            x = block(x)
        return x
