"""A model's answer: its text, the media that it asks for, and these media once they are generated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # for annotations only: a reply can be handled without torch
    import numpy as np
    import torch


@dataclass
class ReplyMedium:
    """A medium of a reply. ``array``: image (H, W, 3) uint8, video (F, H, W, 3) uint8, audio (N,) float32."""

    modality: str
    array: np.ndarray
    rate: float | None
    signal_tokens: int
    seconds: float


@dataclass
class Reply:
    """A model's answer. ``seconds`` has "text" and each modality generated; ``repaired`` counts added or removed signal
    tokens."""

    text: str
    media: list[ReplyMedium] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    repaired: int = 0
    dropped_turns: int = 0

    def as_message(self) -> dict[str, Any]:
        """The reply as the assistant's message of the next call."""
        parts: list[dict[str, Any]] = [{"type": "text", "text": self.text}]
        parts += [{"type": m.modality, "array": m.array, "rate": m.rate} for m in self.media]
        return {"role": "assistant", "content": parts}


class MediaRequest(NamedTuple):
    """A medium that a reply asks for: the decoder's condition (L, C), and the words that go with it."""

    modality: str
    condition: torch.Tensor
    words: str
