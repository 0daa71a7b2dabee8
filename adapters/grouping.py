"""Grouping blocks: many patch tokens become few, each patch assigned to one group (Xu et al., 2202.11094, Sec. 3).

A stage appends learned group tokens to its segments, lets all attend to each other, then assigns every segment to the
group token that it resembles most: the segments of the next stage are the groups. Module names are those under which
NExT-GPT publishes its weights.

Shapes: B batch, N segments (first the patches), G group tokens, S groups of a stage, W width.
A mask (B, N) is true where there is a segment and false where there is padding.
"""

import torch
from torch import nn
from torch.nn import functional

#: Added to the number of segments of a group before dividing by it: an empty group gets zero, not 0 / 0.
ASSIGNMENT_EPSILON = 1.0


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, inner_width: int, output_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner_width)
        self.fc2 = nn.Linear(inner_width, output_width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class TokenMixer(Mlp):
    """The same across tokens: (B, G, W) -> (B, S, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head attention among all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        return self.proj(attend(query, key, value, self.heads, mask))


class CrossAttention(nn.Module):
    """Multi-head attention of queries (B, S, W) to segments (B, N, W)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, query: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        key, value = self.k_proj(segments), self.v_proj(segments)
        return self.proj(attend(self.q_proj(query), key, value, self.heads, mask))


class Assignment(CrossAttention):
    """Every segment goes to one group; a group is the mean of its segments (2202.11094, eqs. 4 and 5).

    The choice is hard, its gradient that of the softmax over groups. Training draws it with Gumbel noise; evaluation
    takes the most similar group.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, heads=1)

    def forward(self, query: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        scores = self.q_proj(query) @ self.k_proj(segments).transpose(1, 2) * query.shape[-1] ** -0.5  # (B, S, N)
        chosen = functional.gumbel_softmax(scores, hard=True, dim=1) if self.training else hard_softmax(scores)
        if mask is not None:
            chosen = chosen * mask[:, None]
        share = chosen / (chosen.sum(dim=-1, keepdim=True) + ASSIGNMENT_EPSILON)
        return self.proj(share @ self.v_proj(segments))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class CrossBlock(nn.Module):
    """Groups look at the segments before these are assigned; the normalisation comes last."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width, width)
        self.norm_post = nn.LayerNorm(width)

    def forward(self, groups: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = groups + self.attn(groups, segments, mask)
        return self.norm_post(x + self.mlp(self.norm2(x)))


class GroupingBlock(nn.Module):
    """Segments (B, N, W) and group tokens (B, G, W) -> groups (B, S, W)."""

    def __init__(self, width: int, heads: int, group_tokens: int, groups: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width)
        self.mlp_inter = TokenMixer(group_tokens, width // 2, groups)
        self.norm_post_tokens = nn.LayerNorm(width)
        self.norm_x = nn.LayerNorm(width)
        self.pre_assign_attn = CrossBlock(width, heads)
        self.assign = Assignment(width)
        self.norm_new_x = nn.LayerNorm(width)
        self.mlp_channels = Mlp(width, 4 * width, width)

    def forward(self, segments: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        segments = self.norm_x(segments)
        groups = self.norm_post_tokens(self.mlp_inter(self.norm_tokens(tokens)))
        groups = self.pre_assign_attn(groups, segments, mask)
        groups = groups + self.assign(groups, segments, mask)
        return groups + self.mlp_channels(self.norm_new_x(groups))


class GroupingStage(nn.Module):
    """Blocks over segments and group tokens, then, where the stage has any groups, the grouping.

    Args:
        previous: group tokens of the stage before, which this stage's own build on; 0 = none.
        group_tokens: of this stage; 0 = none.
        groups: segments that come out; 0 = as many as went in.
    """

    def __init__(self, width: int, depth: int, heads: int, previous: int, group_tokens: int, groups: int) -> None:
        super().__init__()
        self.group_tokens = group_tokens
        if group_tokens:
            self.group_token = nn.Parameter(torch.randn(1, group_tokens, width) * 0.02)
        self.group_projector = None
        if previous and group_tokens:
            mixer = TokenMixer(previous, width // 2, group_tokens)
            self.group_projector = nn.Sequential(nn.LayerNorm(width), mixer)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.downsample = GroupingBlock(width, heads, group_tokens, groups) if groups else None

    def forward(
        self, segments: torch.Tensor, previous: torch.Tensor | None, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Segments, group tokens of the stage before, mask -> segments, this stage's group tokens, their mask."""
        tokens = self._tokens(segments, previous)
        x, count = torch.cat([segments, tokens], dim=1), segments.shape[1]
        seen = None if mask is None else functional.pad(mask, (0, tokens.shape[1]), value=True)
        for block in self.blocks:
            x = block(x, seen)
        segments, tokens = x[:, :count], x[:, count:]
        if self.downsample is None:
            return segments, tokens, mask
        return self.downsample(segments, tokens, mask), tokens, None

    def _tokens(self, segments: torch.Tensor, previous: torch.Tensor | None) -> torch.Tensor:
        if not self.group_tokens:
            return segments[:, :0]
        tokens = self.group_token.expand(len(segments), -1, -1)
        return tokens if self.group_projector is None else tokens + self.group_projector(previous)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attention of queries (B, S, W) to keys and values (B, N, W) in ``heads`` heads -> (B, S, W)."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    visible = None if mask is None else mask[:, None, None]
    return functional.scaled_dot_product_attention(query, key, value, visible).transpose(1, 2).flatten(2)


def hard_softmax(scores: torch.Tensor) -> torch.Tensor:
    """One at the largest score over groups (dimension 1) and zero elsewhere, with the gradient of the softmax."""
    soft = scores.softmax(dim=1)
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return hard - soft.detach() + soft
