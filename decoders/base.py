"""What every decoder offers: a condition in, media out. See :class:`Decoder`.

Shapes: B batch, L condition tokens, D width of a condition token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch

from data.modalities import MODALITIES
from data.strict import read_json, read_settings, setting

INDEX, SETTINGS = "model_index.json", "decoder.json"
#: Called after every sampling step with (steps done, steps in all). It may raise: the sampling then ends at once.
OnStep = Callable[[int, int], None]
#: Called before every block of the network, many times a step. It may do other work, and it may raise as well.
OnBlock = Callable[[], None]


@dataclass(frozen=True)
class DecoderSettings:
    """What the optional ``decoder.json`` in a decoder's folder may set; None = as the decoder's class says."""

    steps: int | None = setting(None, low=1, high=1000, help="sampling steps")
    guidance: float | None = setting(None, low=0, high=100, help="scale of classifier-free guidance")
    frames: int | None = setting(None, low=1, help="frames of a video")
    rate: float | None = setting(None, above=0, help="frames or samples a second")


class Decoder(ABC):
    """Turns a condition, the output of a text encoder or of an output projection, into media of one modality.

    The condition is what the decoder's own text encoder gives for a caption, so whatever imitates that text
    encoder can drive the decoder (NExT-GPT, 2309.05519, Sec. 3 and 4.2: decoding-side alignment).

    Attributes:
        modality: what it generates, a name in ``data.modalities.MODALITIES``.
        default_steps, default_guidance: how it samples where nothing else is asked for.
        rate: frames or samples a second of what it generates; None for media without time.
    """

    modality: ClassVar[str]
    default_steps: int = 12
    default_guidance: float = 2.5

    def __init__(self, settings: DecoderSettings | None = None) -> None:
        self.settings = settings or DecoderSettings()
        self.default_steps = self.settings.steps or self.default_steps
        if self.settings.guidance is not None:
            self.default_guidance = self.settings.guidance

    @property
    def rate(self) -> float | None:
        return self.settings.rate or MODALITIES[self.modality].rate

    @property
    @abstractmethod
    def condition_shape(self) -> tuple[int, int]:
        """(L, D) of one condition."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load from a folder. Raises ValueError when the folder holds no such decoder."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Move the weights to ``device``."""

    @abstractmethod
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, L, D) of captions by the decoder's own text encoder: what output projections aim at."""

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

        The arrays are those of ``data.modalities``: images uint8 (H, W, 3), videos uint8 (F, H, W, 3), audio float32
        (N,) in [-1, 1]. ``steps`` and ``guidance`` default to the decoder's own. Raises ValueError on a wrong shape or
        seed count.
        """

    def preview(self) -> np.ndarray | None:
        """Inside ``on_step``: an image uint8 (H, W, 3) of the first medium so far; None where it is not known."""
        return None

    @abstractmethod
    def resize(self, medium: np.ndarray, rate: float | None) -> np.ndarray:
        """A medium of any size in the form in which :meth:`decode` returns it: its pixels, its frames, its seconds."""

    @abstractmethod
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, ...) of media in the form in which :meth:`decode` returns them."""

    @abstractmethod
    def noise_loss(self, latents: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """The decoder's own training loss, a scalar, at random noise levels; gradients reach ``condition``."""


def class_name(folder: str | Path) -> str:
    """What the folder of a decoder says that it holds: ``_class_name`` of its ``model_index.json``.

    Raises ValueError where that file is missing or says nothing.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise ValueError(f"{folder} holds no decoder: it has no {INDEX}")
    name = read_json(path).get("_class_name")
    if not isinstance(name, str):
        raise ValueError(f"{path}: _class_name must be text, the name of a pipeline class, not {name!r}")
    return name


def read_decoder_settings(folder: str | Path) -> DecoderSettings:
    """The checked ``decoder.json`` of a folder, or the defaults where there is none. Raises ValueError."""
    path = Path(folder) / SETTINGS
    if not path.is_file():
        return DecoderSettings()
    return read_settings(DecoderSettings, read_json(path), str(path))


def image_tensor(images: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """uint8 images (H, W, 3) as (B, 3, H, W) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(list(images)))  # (B, H, W, 3)
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1
