"""The visual path of LLaMA-Adapter V2: tokens of a CLIP vision tower -> prompts (2304.15010, Sec. 4.3).

Shapes: B images, N tokens of the tower (class token first), C their width, E inner width, K queries, D model width.
"""

import torch
from torch import nn


class VisualPrompts(nn.Module):
    """Learned queries read the tower's tokens in a small transformer; they become the prompts of the language model.

    ``norm(linear(tokens))`` behind the queries, pre-norm blocks over both, the first K positions, and
    ``norm(linear(.))`` to the model width. The released sizes for 7B: C 768, E 768, K 10, 8 blocks of 16 heads,
    D 4096.

    Args:
        feature_width: C.
        width: D.
        tokens: K, the prompts that an image gives (20 in the paper's early fusion, 10 as released).
        inner_width: E.
        blocks, heads: of the transformer; its feed-forward is 4 E wide, its norms have eps 1e-5.
    """

    def __init__(
        self, feature_width: int, width: int, tokens: int = 10, inner_width: int = 768, blocks: int = 8, heads: int = 16
    ) -> None:
        super().__init__()
        if inner_width % heads:
            raise ValueError(f"inner_width {inner_width} must be a multiple of heads {heads}")
        self.feature_width, self.tokens = feature_width, tokens
        self.projection = nn.Linear(feature_width, inner_width)
        self.projection_norm = nn.LayerNorm(inner_width)
        self.query = nn.Parameter(torch.randn(tokens, inner_width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                inner_width, heads, 4 * inner_width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        )
        self.output = nn.Linear(inner_width, width)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Tokens of the tower (..., N, C) -> prompts (..., K, D). ValueError for another C or values not finite."""
        if features.shape[-1] != self.feature_width:
            raise ValueError(f"features of width {features.shape[-1]}: expected {self.feature_width}")
        if not torch.isfinite(features).all():
            raise ValueError("the features hold values that are not finite")
        tokens = self.projection_norm(self.projection(features.flatten(0, -3)))  # (B, N, E)
        x = torch.cat([self.query.to(tokens).expand(len(tokens), -1, -1), tokens], dim=1)  # (B, K + N, E)
        for block in self.blocks:
            x = block(x)
        prompts = self.output_norm(self.output(x[:, : self.tokens]))
        return prompts.unflatten(0, features.shape[:-2])
