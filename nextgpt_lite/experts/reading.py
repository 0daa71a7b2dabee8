"""The expert on what the model's own encoder reads."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from data.modalities import MODALITIES

if TYPE_CHECKING:
    from encoders import Encoder


class ReadingExpert:
    """An encoder that can say what it reads, for a language model that was trained with these words.

    The bind network injects features; words are what a small language model can repeat, count and compare. Media are
    numbered, by type, over the whole conversation.
    """

    name = "{type} {number}"  # training, which knows what media show, writes the same
    reads = tuple(MODALITIES)

    def __init__(self, encoder: Callable[[], "Encoder"]) -> None:
        self.encoder = encoder  #: called when there is a first medium: most conversations have none

    def context(self, part: dict[str, Any]) -> str:
        encoder = self.encoder()
        try:
            medium = encoder.preprocess(part["type"], np.asarray(part["array"]), part.get("rate"))
        except ValueError:
            return ""  # refused with a sentence where it is embedded
        return encoder.describe(part["type"], medium[None].to(encoder.device), part["language"])[0]
