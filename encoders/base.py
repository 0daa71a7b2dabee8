"""What the rest of the application asks of an encoder: media and text as unit vectors of one space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Encoder(nn.Module, ABC):
    """An encoder of several media into one space of ``width`` dimensions.

    ``identity`` is the SHA-256 of the weights file that was loaded or saved last: projections and caches made with
    one encoder are worthless with another, and record it.
    """

    width: int
    modalities: tuple[str, ...]
    identity: str | None = None

    @abstractmethod
    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        """One raw medium to the tensor that :meth:`embed` takes, without a batch axis. ``rate``: hertz or frames/s."""

    @abstractmethod
    def embed(self, modality: str, batch: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        """Preprocessed media, stacked or as a list, to float32 unit vectors (B, width)."""

    @abstractmethod
    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """Texts to float32 unit vectors (B, width)."""

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Write configuration, weights and tokenizer; an interrupted call leaves what was there before."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, folder: str | Path) -> Encoder:
        """Read what :meth:`save_pretrained` wrote, in evaluation mode. ValueError names what is missing or unknown."""
