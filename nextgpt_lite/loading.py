"""Encoders and decoders of a model folder, checked against the core that they are to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nextgpt_lite.checkpoint import CheckpointError
from nextgpt_lite.config import CoreConfig

if TYPE_CHECKING:
    from decoders import Decoder
    from encoders import Encoder


def load_encoder(folder: Path, config: CoreConfig) -> Encoder:
    """The encoder in ``folder``. CheckpointError where the core was trained on another one."""
    from encoders import load_encoder as load  # imported late: text alone needs no encoder

    encoder = load(folder)
    expected = config.encoder_identity
    if encoder.identity != expected:
        found = encoder.identity[:12]
        raise CheckpointError(f"the core was trained on encoder {expected[:12]}, this one is {found}")
    if config.image_size:
        encoder.set_image_size(config.image_size)
    return encoder


class Decoders(dict[str, "Decoder"]):
    """Decoders by modality, each loaded when it is first asked for.

    ``folder_of`` names a component's folder; ``shapes`` are the conditions (L, C) that the core makes, by modality.
    """

    def __init__(
        self, folder_of: Callable[[str], Path], shapes: Mapping[str, Sequence[int]], device: torch.device
    ) -> None:
        super().__init__()
        self._folder_of, self._shapes, self._device = folder_of, shapes, device

    def __missing__(self, modality: str) -> Decoder:
        """Load a decoder. ValueError for a modality that the model does not generate; CheckpointError where the decoder
        takes conditions of another shape."""
        from decoders import load_decoder

        if modality not in self._shapes:
            raise ValueError(f"this model has no {modality} decoder: it has {', '.join(self._shapes)}")
        decoder = load_decoder(self._folder_of(f"{modality}_decoder"))
        expected, found = tuple(self._shapes[modality]), tuple(decoder.condition_shape)
        if found != expected:
            raise CheckpointError(f"the {modality} decoder takes conditions {found}, the core makes {expected}")
        self[modality] = decoder.to(self._device)
        return self[modality]
