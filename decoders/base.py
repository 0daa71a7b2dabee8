"""What every decoder offers: a condition in, media out. See :class:`Decoder`.

Shapes: B batch, L condition tokens, D width of a condition token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

#: Called after every sampling step with (steps done, steps in all). It may raise: the sampling then ends at once.
OnStep = Callable[[int, int], None]
#: Called before every block of the network, many times a step. It may do other work, and it may raise as well.
OnBlock = Callable[[], None]


class Decoder(ABC):
    """Turns a condition, the output of a text encoder or of an output projection, into media of one modality.

    The condition is what the decoder's own text encoder gives for a caption, so whatever imitates that text
    encoder can drive the decoder (NExT-GPT, section 3.3: decoding-side alignment).
    """

    modality: ClassVar[str]

    @property
    @abstractmethod
    def condition_shape(self) -> tuple[int, int]:
        """(L, D) of one condition."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, folder: str | Path) -> Decoder:
        """Load from a folder. Raises ValueError when the folder holds no such decoder."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Decoder:
        """Move the weights to ``device``."""

    @abstractmethod
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, L, D) of captions by the decoder's own text encoder: what output projections aim at."""

    def unconditional(self) -> torch.Tensor:
        """Condition (1, L, D) of the empty caption, for classifier-free guidance."""
        return self.encode_caption([""])

    @abstractmethod
    def decode(
        self,
        condition: torch.Tensor,
        *,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        on_step: OnStep | None = None,
        on_block: OnBlock | None = None,
    ) -> list[np.ndarray]:
        """One medium for each condition (B, L, D), with noise from its seed, whatever the rest of the batch.

        Images are uint8 (H, W, 3), videos uint8 (F, H, W, 3), audio float32 (N,) in [-1, 1].
        ``steps`` and ``guidance`` default to the decoder's own. Raises ValueError on a wrong shape or seed count.
        """

    def preview(self) -> np.ndarray | None:
        """Inside ``on_step``: an image uint8 (H, W, 3) of what the first medium looks like so far; None = not known."""
        return None

    @abstractmethod
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, ...) of media in the form in which :meth:`decode` returns them."""

    @abstractmethod
    def noise_loss(self, latents: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """The decoder's own training loss, a scalar, at random noise levels; gradients reach ``condition``."""

    def check_condition(self, condition: torch.Tensor, seeds: Sequence[int]) -> None:
        """Raise ValueError unless ``condition`` is (B, L, D) of this decoder with one seed a row."""
        if condition.ndim != 3 or tuple(condition.shape[1:]) != self.condition_shape:
            length, width = self.condition_shape
            shape = tuple(condition.shape)
            raise ValueError(f"condition of shape {shape}: the {self.modality} decoder takes (B, {length}, {width})")
        if len(seeds) != len(condition):
            raise ValueError(f"{len(seeds)} seeds for {len(condition)} conditions: give one for each")
