"""An output projection that reads words: the signal tokens' states, and the words that stand before them.

All that a condition says has to come through the states of a few signal tokens where nothing else is read. A large
language model learns to put it there; a small one, on a few thousand dialogues, learns when a medium is asked for and
how to speak of it long before. The words that say it stand before the signal tokens: the request, and the reply's own
"Here is a blue sailboat". So the projection reads their input embeddings as well. It learns to from dialogues alone,
without a pass of the language model (task ``output_reading``); the states come in through a layer that begins as zero,
as the gates of LLaMA-Adapter do, and add what only the language model understands.

Words have their meaning already: a linear map from one model's word vectors to another's carries most of it over, to
words that it was not fitted on as well (1309.4168). So each position of the condition points at words (1506.03134), and
begins with the mean of their meanings; what the layers add begins as zero.

Shapes: B spans, n signal tokens, W words at most, D model width, L x C the decoder's condition.
"""

import torch
from torch import nn


class ReadingProjection(nn.Module):
    """TransformerProjection (NExT-GPT, Sec. 3) over words and signal states."""

    def __init__(
        self,
        model_width: int,
        condition_shape: tuple[int, int],
        words: int = 64,
        width: int = 256,
        encoder_layers: int = 2,
        decoder_layers: int = 2,
        heads: int = 4,
        feed_forward: int = 768,
    ) -> None:
        super().__init__()
        length, channels = condition_shape
        self.words = words
        self.in_fc = nn.Linear(model_width, width, bias=False)
        self.word_norm = nn.LayerNorm(model_width)
        self.word_fc = nn.Linear(model_width, width)
        self.places = nn.Parameter(torch.randn(words, width) * 0.1)  # the last is that of the word before the span
        layer = {"d_model": width, "nhead": heads, "dim_feedforward": feed_forward, "dropout": 0.0}
        layer |= {"batch_first": True, "norm_first": True, "activation": "gelu"}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**layer), encoder_layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**layer), decoder_layers, nn.LayerNorm(width))
        self.query_embs = nn.Parameter(torch.randn(1, length, width) * width**-0.5)
        self.out_fc = nn.Linear(width, channels)
        for begins_as_zero in (self.in_fc.weight, self.out_fc.weight, self.out_fc.bias):
            nn.init.zeros_(begins_as_zero)
        self.meaning = nn.Linear(model_width, channels)
        self.pointer = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key")})
        self.nowhere = nn.Parameter(torch.zeros(width))  # where a position points that no word speaks of

    def forward(
        self, hidden: torch.Tensor, embedding: torch.Tensor, words: torch.Tensor, padding: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states and input embeddings of the signal tokens, both (B, n, D), input embeddings (B, W', D) of the
        W' <= W tokens before them, and where those are ``padding`` (B, W'), on the left -> condition (B, L, C)."""
        states = self.in_fc(hidden + embedding)
        words = self.word_norm(words)
        read = self.word_fc(words) + self.places[self.words - words.shape[1] :]
        source = torch.cat((read, states), dim=1)
        nothing = torch.cat((padding, padding.new_zeros(states.shape[:2])), dim=1)
        memory = self.encoder(source, src_key_padding_mask=nothing)
        queries = self.query_embs.expand(len(source), -1, -1)
        decoded = self.decoder(queries, memory, memory_key_padding_mask=nothing)
        return self.out_fc(decoded) + self._pointed_at(decoded, memory[:, : words.shape[1]], words, padding)

    def _pointed_at(
        self, decoded: torch.Tensor, memory: torch.Tensor, words: torch.Tensor, padding: torch.Tensor
    ) -> torch.Tensor:
        """The mean meaning (B, L, C) of the words (B, W', D) at which each decoded position (B, L, width) points."""
        keys = torch.cat((memory, self.nowhere.expand(len(memory), 1, -1)), dim=1)
        query, key = self.pointer["query"](decoded), self.pointer["key"](keys)
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5  # (B, L, W' + 1)
        hidden = torch.cat((padding, padding.new_zeros(len(padding), 1)), dim=1)
        weights = scores.masked_fill(hidden[:, None], -torch.inf).softmax(-1)
        return weights[..., :-1] @ self.meaning(words)
