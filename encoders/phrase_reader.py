"""Reads a medium as the phrases of a caption: the whole, and slot by slot what is shown, what it does, how many, how.

    1 + L queries, feature tokens -> transformer -> embedding of the whole (E,)
                                                 -> L phrase vectors (E,), unit, and how surely each is to be said

The slots are those of ``decoders.phrases``, so what is read lies in the space in which decoders are told what to draw.
Shapes: B media, T feature tokens, D width of the transformer, L phrases, E width of the shared space.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from data.strict import setting


@dataclass(frozen=True)
class PhraseReaderConfig:
    """Sizes of a :class:`PhraseReader`."""

    width: int = setting(192, low=1)
    depth: int = setting(3, low=1)
    heads: int = setting(4, low=1)
    phrases: int = setting(8, low=1, help="phrases of a caption")


class PhraseReader(nn.Module):
    """Embedding and phrases of media whose features are tokens of its own width."""

    def __init__(self, config: PhraseReaderConfig, shared_width: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.queries = nn.Parameter(torch.randn(1 + config.phrases, width) * 0.5)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.whole = nn.Linear(width, shared_width)
        self.phrase = nn.Linear(width, shared_width)
        self.presence = nn.Linear(width, 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens (B, T, D), which say where they belong -> embeddings (B, E), unit; phrases (B, L, E), unit; logits of
        their being said (B, L)."""
        asked = len(self.queries)
        hidden = self.layers(torch.cat((self.queries.expand(len(features), -1, -1), features), dim=1))[:, :asked]
        phrases = functional.normalize(self.phrase(hidden[:, 1:]), dim=-1)
        return functional.normalize(self.whole(hidden[:, 0]), dim=-1), phrases, self.presence(hidden[:, 1:])[..., 0]

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Tokens (B, T, D) -> the embedding and each phrase, as long as it is sure to be said: (B, 1 + L, E)."""
        whole, phrases, presence = self(features)
        return torch.cat((whole[:, None], presence.sigmoid()[..., None] * phrases), dim=1)
