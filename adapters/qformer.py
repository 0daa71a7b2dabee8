"""The Q-Former as an output projection: learned queries read the signal states by cross-attention.

BERT's layers (post-norm, LayerNorm epsilon 1e-12, GELU) without words and positions, as in BLIP-2 (2301.12597,
Sec. 3.1), which is where NExT-GPT takes it from. Module names are those of the published weights.

Shapes: B spans, n signal tokens, D model width, L x C the decoder's condition, W width of the Q-Former.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from adapters.grouping import attend

EPSILON = 1e-12


class AddNorm(nn.Module):
    """LayerNorm(linear(x) + residual)."""

    def __init__(self, inner_width: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner_width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertAttention(nn.Module):
    """Attention of queries (B, L, W) to a source (B, n, W), added and normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.self = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.output = AddNorm(width, width)

    def forward(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        query, key, value = self.self["query"](x), self.self["key"](source), self.self["value"](source)
        return self.output(attend(query, key, value, self.heads, None), x)


class QueryLayer(nn.Module):
    """Self-attention, cross-attention where the layer has it, feed-forward."""

    def __init__(self, width: int, heads: int, feed_forward: int, cross: bool) -> None:
        super().__init__()
        self.attention = BertAttention(width, heads)
        self.crossattention = BertAttention(width, heads) if cross else None
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(width, feed_forward)})
        self.output_query = AddNorm(feed_forward, width)

    def forward(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        x = self.attention(x, x)
        if self.crossattention is not None:
            x = self.crossattention(x, source)
        return self.output_query(functional.gelu(self.intermediate_query["dense"](x)), x)


class QFormerProjection(nn.Module):
    """Linear -> Q-Former -> linear; f(hidden + embedding), as TransformerProjection.

    ``cross_attention_every`` = 2 gives every second layer, from the first, cross-attention. Unlike the original, the
    width of the condition may differ from that of the Q-Former.
    """

    def __init__(
        self,
        model_width: int,
        condition_shape: tuple[int, int],
        width: int = 768,
        heads: int = 12,
        layers: int = 2,
        feed_forward: int = 3072,
        cross_attention_every: int = 1,
    ) -> None:
        super().__init__()
        length, channels = condition_shape
        self.in_fc = nn.Linear(model_width, width)
        self.query_tokens = nn.Parameter(torch.randn(1, length, width) * 0.02)
        stack = nn.ModuleList(
            QueryLayer(width, heads, feed_forward, i % cross_attention_every == 0) for i in range(layers)
        )
        embeddings = nn.ModuleDict({"LayerNorm": nn.LayerNorm(width, eps=EPSILON)})
        bert = nn.ModuleDict({"embeddings": embeddings, "encoder": nn.ModuleDict({"layer": stack})})
        self.Qformer = nn.ModuleDict({"bert": bert})
        self.out_fc = nn.Linear(width, channels)

    def forward(self, hidden: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Hidden states and input embeddings of the signal tokens, both (B, n, D) -> condition (B, L, C)."""
        source = self.in_fc(hidden + embedding)
        bert: Any = self.Qformer["bert"]
        x = bert["embeddings"]["LayerNorm"](self.query_tokens.expand(len(source), -1, -1))
        for layer in bert["encoder"]["layer"]:
            x = layer(x, source)
        return self.out_fc(x)
