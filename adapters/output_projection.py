"""Output projections: hidden states of signal tokens -> a decoder's prompt embeddings (NExT-GPT, Sec. 3).

n signal tokens, D model width, L x C the shape of the decoder's condition.
"""

import re

import torch
from torch import nn


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
