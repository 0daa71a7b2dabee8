"""Input projections of a medium: its unit embedding, or its patch tokens -> input embeddings of its placeholders.

NExT-GPT's (2309.05519, Sec. 3) and LLaVA's. An embedding gives all n placeholders of a medium, a patch gives one, or a
group of patches does. Names of the parameters on patches are the published ones.

Shapes: B batch or media, M media of a row, E embedding width, n placeholders or patches of a medium, C width of a
patch, D model width. A mask (B, n) is true where there is a patch.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from adapters.grouping import GroupingStage


class InputProjection(nn.Module):
    """What all input projections share."""

    #: Tokens that come out for a medium; None = one a patch.
    tokens: int | None = None
    #: Name of the last linear layer; "" = the projection itself.
    output_layer: str

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiply what comes out, so that it starts at the size of the language model's own embeddings."""
        linear = cast(nn.Linear, self.get_submodule(self.output_layer))
        linear.weight.mul_(factor)
        linear.bias.mul_(factor)


class LinearInput(InputProjection):
    """One linear map to all n placeholders. ``input_scale`` multiplies the unit embedding first, as in BindNetwork."""

    output_layer = "out"

    def __init__(self, embedding_width: int, width: int, tokens: int, input_scale: float = 1.0) -> None:
        super().__init__()
        self.width, self.tokens, self.input_scale = width, tokens, input_scale
        self.out = nn.Linear(embedding_width, tokens * width)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (B, M, E) -> (B, M, n, D)."""
        return self.out(embedding * self.input_scale).unflatten(-1, (-1, self.width))


class MlpInput(LinearInput):
    """LLaVA's two linear layers with a GELU between (``mlp2x_gelu``); the second one serves all n placeholders."""

    def __init__(
        self, embedding_width: int, width: int, tokens: int, inner_width: int, input_scale: float = 1.0
    ) -> None:
        super().__init__(inner_width, width, tokens, input_scale)
        self.inner = nn.Linear(embedding_width, inner_width)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        inner = nn.functional.gelu(self.inner(embedding * self.input_scale))
        return self.out(inner).unflatten(-1, (-1, self.width))


class PatchLinear(nn.Linear, InputProjection):
    """One linear map (LLaVA's ``linear``)."""

    output_layer = ""

    def forward(self, patches: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Patches (B, n, C) -> (B, n, D); padding gives anything."""
        return super().forward(patches)


class PatchMlp(InputProjection):
    """Linear, GELU, linear (LLaVA's ``mlp2x_gelu``)."""

    output_layer = "layer.2"

    def __init__(self, patch_width: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(patch_width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, patches: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Patches (B, n, C) -> (B, n, D); padding gives anything."""
        return self.layer(patches)


class GroupProjection(InputProjection):
    """NExT-GPT's grouping: linear, grouping stages, norm, linear: any number of patches -> ``groups[-1]`` tokens.

    NExT-GPT's sizes are the defaults: 53M parameters for C = 1024 and D = 4096.

    Args:
        inner_width: width of the stages.
        depths: blocks of each stage.
        heads: of every stage, or one number a stage.
        group_tokens: learned tokens of each stage; the last has none.
        groups: segments that each grouping leaves, one fewer than there are stages.
    """

    output_layer = "out_fc"

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
