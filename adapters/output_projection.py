"""Output projections: hidden states of signal tokens -> a decoder's prompt embeddings (NExT-GPT, Sec. 3).

The Q-Former's layers are BERT's (post-norm, GELU) without words and positions, as in BLIP-2 (2301.12597, Sec. 3.1),
which is where NExT-GPT takes it from. Module names are those of the published weights.

Shapes: B spans, n signal tokens, D model width, L x C the decoder's condition, W width of the Q-Former.
"""

import re
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from adapters.grouping import attend

#: Of the Q-Former's norms.
EPSILON = 1e-12


class TransformerProjection(nn.Module):
    """Linear -> encoder-decoder transformer with learned queries -> linear; f(hidden + embedding).

    NExT-GPT's sizes: width 512, 4 + 4 layers, 4 heads, feed-forward 2048, pre-norm, no dropout; L = 77 for
    image and video, 1 for audio.
    """

    def __init__(
        self,
        model_width: int,
        condition_shape: tuple[int, int],
        width: int = 512,
        encoder_layers: int = 4,
        decoder_layers: int = 4,
        heads: int = 4,
        feed_forward: int = 2048,
    ) -> None:
        super().__init__()
        length, channels = condition_shape
        self.in_fc = nn.Linear(model_width, width)
        layer = {"d_model": width, "nhead": heads, "dim_feedforward": feed_forward, "dropout": 0.0}
        layer |= {"batch_first": True, "norm_first": True}
        # Built here because nn.Transformer's own encoder asks for nested tensors, which pre-norm cannot use.
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**layer), encoder_layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.tfm = nn.Transformer(num_decoder_layers=decoder_layers, custom_encoder=encoder, **layer)
        self.query_embs = nn.Parameter(torch.randn(1, length, width) * width**-0.5)
        self.out_fc = nn.Linear(width, channels)

    def forward(self, hidden: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Hidden states and input embeddings of the signal tokens, both (B, n, D) -> condition (B, L, C)."""
        source = self.in_fc(hidden + embedding)
        return self.out_fc(self.tfm(source, self.query_embs.expand(len(source), -1, -1)))


class LinearProjection(nn.Module):
    """A linear map of every signal state and one across them: n states of width D become L of width C.

    NExT-GPT's own ``linear`` maps each state alone: its length is n where the decoder wants L, so it cannot be used.
    One matrix from n x D to L x C would have billions of entries at its sizes.
    """

    def __init__(self, model_width: int, condition_shape: tuple[int, int], signal_tokens: int) -> None:
        super().__init__()
        length, channels = condition_shape
        self.out_fc = nn.Linear(model_width, channels)
        self.positions = nn.Linear(signal_tokens, length)

    def forward(self, hidden: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Hidden states and input embeddings (B, n, D) -> condition (B, L, C)."""
        channels = self.out_fc(hidden + embedding)  # (B, n, C)
        return self.positions(channels.transpose(1, 2)).transpose(1, 2)


#: Names of the ends of a projection in NExT-GPT's first release -> in its newest one and here.
LEGACY_NAMES = {"fc.": "in_fc.", "model.": "out_fc."}


def from_legacy_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of an output projection of NExT-GPT's first release under the names used here."""
    return {re.sub(r"^(fc|model)\.", lambda old: LEGACY_NAMES[old[0]], name): value for name, value in state.items()}


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
