"""What a foundation asks of the data that it learns from.

A medium is one of ``data.modalities.MODALITIES``. What is known of it are attributes (name to one value of a closed
set, say ``{"colour": "red"}``, perhaps none) and a caption, the words that a decoder is to follow.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

#: Length of a stream whose media are generated as they are asked for.
ENDLESS = 1 << 40
#: Attributes of a medium -> those that a caption is to name.
Keep = Callable[[dict[str, Any]], dict[str, Any]]


class MediaStream(ABC):
    """Media of one modality. Item ``index`` depends on the stream and on ``index`` alone.

    ``seed`` draws the order, or the media themselves.
    """

    modality: str
    seed: int

    @property
    def missing(self) -> str:
        """Why there are no items, and what would help, as one sentence; "" where nothing more is known."""
        return ""

    @property
    def seconds(self) -> float:
        """The greatest length of audio."""
        return 2.0

    @abstractmethod
    def __len__(self) -> int:
        """How many different items there are: 0 where the world has no such media, ENDLESS where they are generated."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Changes with the media: part of the names of the pools made of them."""

    @abstractmethod
    def medium(self, index: int, size: int = 64) -> np.ndarray:
        """image uint8 (size, size, 3); video uint8 (F, size, size, 3); audio float32 (N,) at 16 kHz, at most
        ``seconds``; points float32 (N, 3)."""

    @abstractmethod
    def mask(self, index: int, size: int, frame: int | None = None, frames: int = 8) -> np.ndarray:
        """How much of each pixel captions speak of, in an image or a frame of a video: float32 (size, size), 0 to 1."""

    @abstractmethod
    def attributes(self, index: int) -> dict[str, Any]:
        """The attributes that the medium is known to have."""

    @abstractmethod
    def caption(self, index: int, keep: Keep | None = None) -> str:
        """The caption for a decoder. ``keep`` leaves attributes out where captions are made from attributes."""


class World(ABC):
    """Media with what is known of them, and conversations about them. ``held_out`` is what training never sees.

    ``caption_words`` are one token each to the decoders' text encoders. ``readings`` can be read back from a caption:
    name -> values. ``names`` is what people call values: attribute -> value -> words; others go by their own name.
    """

    caption_words: tuple[str, ...]
    readings: dict[str, tuple]
    names: dict[str, dict[Any, tuple[str, ...]]]

    @abstractmethod
    def stream(self, modality: str, seed: int, held_out: bool = False, variations: int = 1) -> MediaStream:
        """Media of a modality in an order drawn from ``seed``.

        ``variations`` above 1 adds slightly changed copies of media that are files; generated ones vary anyway.
        """

    @abstractmethod
    def random_caption(self, seed: int, index: int, keep: float) -> tuple[str, dict[str, Any]]:
        """A caption and what can be read back from it. Where captions are made from attributes, they are random and
        each but the first is named with chance ``keep``."""

    @abstractmethod
    def conversations(self, held_out: bool = False) -> int:
        """How many different conversations there are."""

    @abstractmethod
    def conversation(self, seed: int, index: int, held_out: bool = False) -> list[dict[str, str]]:
        """Messages in words alone: what a user shows stands in brackets, "[image: a red bell] What is this?"."""

    @abstractmethod
    def corpus(self, count: int) -> Iterator[str]:
        """Texts of ``count`` conversations with all their captions, to train a tokenizer on."""
