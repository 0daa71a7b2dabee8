"""Input projections on patch tokens: every patch of a medium becomes a token, instead of their pooled embedding.

``linear`` and ``mlp`` are NExT-GPT's (2309.05519, Sec. 3) and LLaVA's projectors: one placeholder a patch. ``group``
is NExT-GPT's grouping: the patches become a few concept tokens. Names of the parameters are the published ones.

Shapes: B media, n patches, C their width, D model width. A mask (B, n) is true where there is a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from adapters.grouping import GroupingStage


class PatchLinear(nn.Linear):
    """One linear map (LLaVA's ``linear``)."""

    #: Tokens that come out for a medium; None = one a patch.
    tokens: int | None = None

    def __init__(self, patch_width: int, width: int) -> None:
        super().__init__(patch_width, width)

    def forward(self, patches: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Patches (B, n, C) -> (B, n, D); padding gives anything."""
        return super().forward(patches)

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiply what comes out, so that it starts at the size of the language model's own embeddings."""
        scale_linear(self, factor)


class PatchMlp(nn.Module):
    """Linear, GELU, linear (LLaVA's ``mlp2x_gelu``)."""

    tokens: int | None = None

    def __init__(self, patch_width: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(patch_width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, patches: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Patches (B, n, C) -> (B, n, D); padding gives anything."""
        return self.layer(patches)

    def scale_output(self, factor: float) -> None:
        """As :meth:`PatchLinear.scale_output`."""
        scale_linear(cast(nn.Linear, self.layer[2]), factor)


class GroupProjection(nn.Module):
    """Linear, grouping stages, norm, linear: any number of patches -> ``groups[-1]`` tokens.

    NExT-GPT's sizes are the defaults: 53M parameters for C = 1024 and D = 4096.

    Args:
        inner_width: width of the stages.
        depths: blocks of each stage.
        heads: of every stage, or one number a stage.
        group_tokens: learned tokens of each stage; the last has none.
        groups: segments that each grouping leaves, one fewer than there are stages.
    """

    def __init__(
        self,
        patch_width: int,
        width: int,
        inner_width: int = 512,
        depths: Sequence[int] = (6, 3, 3),
        heads: int | Sequence[int] = 8,
        group_tokens: Sequence[int] = (64, 8, 0),
        groups: Sequence[int] = (64, 8),
    ) -> None:
        super().__init__()
        per_stage = [heads] * len(depths) if isinstance(heads, int) else list(heads)
        if not len(depths) == len(per_stage) == len(group_tokens) == len(groups) + 1:
            raise ValueError(
                f"depths {list(depths)}, heads {per_stage}, group_tokens {list(group_tokens)} must be one a stage, "
                f"groups {list(groups)} one fewer"
            )
        self.tokens = groups[-1]
        self.in_fc = nn.Linear(patch_width, inner_width)
        left, before = [*groups, 0], [0, *group_tokens]
        self.layers = nn.ModuleList(
            GroupingStage(inner_width, depth, per_stage[i], before[i], group_tokens[i], left[i])
            for i, depth in enumerate(depths)
        )
        self.norm = nn.LayerNorm(inner_width)
        self.out_fc = nn.Linear(inner_width, width)

    def forward(self, patches: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Patches (B, n, C) -> (B, tokens, D); padding has no effect."""
        segments, tokens = self.in_fc(patches), None
        for stage in self.layers:
            segments, tokens, mask = stage(segments, tokens, mask)
        return self.out_fc(self.norm(segments))

    def scale_output(self, factor: float) -> None:
        """As :meth:`PatchLinear.scale_output`."""
        scale_linear(self.out_fc, factor)


@torch.no_grad()
def scale_linear(linear: nn.Linear, factor: float) -> None:
    """Multiply what a linear layer gives."""
    linear.weight.mul_(factor)
    linear.bias.mul_(factor)
