"""A pretrained sentence encoder: texts to unit vectors by the mean of its token states, frozen."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer


class SentenceEncoder(nn.Module):
    """A BERT whose token states are averaged (Sentence-BERT, 1908.10084). Shapes: B texts, L tokens, E its width."""

    def __init__(self, model: nn.Module, tokenizer, length: int = 64) -> None:
        super().__init__()
        self.model: Any = model.requires_grad_(False).eval()
        self.tokenizer, self.length = tokenizer, length

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The encoder of a folder as transformers writes it."""
        return cls(
            AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
        )

    @property
    def width(self) -> int:
        return self.model.config.hidden_size

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @torch.no_grad()
    def forward(self, texts: list[str]) -> torch.Tensor:
        """Float32 unit vectors (B, E); texts beyond ``length`` tokens are cut."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt")
        tokens = tokens.to(next(self.model.parameters()).device)
        states = self.model(**tokens).last_hidden_state.float()  # (B, L, E)
        mask = tokens["attention_mask"][..., None]
        return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


class Remembered:
    """A sentence encoder that embeds each text once: in training, phrases come again and again."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.encoder = encoder
        self.known: dict[str, torch.Tensor] = {}

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Float32 unit vectors (B, E)."""
        new = sorted(set(texts) - self.known.keys())
        if new:
            self.known |= dict(zip(new, self.encoder(new), strict=True))
        return torch.stack([self.known[text] for text in texts])
