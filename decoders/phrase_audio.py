"""Sounds from the phrases of a caption: an AudioLDMPipeline whose UNet takes all phrases at once, as its class label.

Shapes: B sounds, L phrases, E their width.
"""

from typing import Any

import torch

from decoders.audio import AudioDecoder
from decoders.base import DecoderSettings
from decoders.phrase_decoder import PhraseDecoder
from decoders.phrases import SLOTS, clear_phrases


class PhraseAudioDecoder(PhraseDecoder, AudioDecoder):
    """See above."""

    default_steps = 8

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        pipeline.text_encoder = pipeline.unet  # asked for its dtype, even where conditions are given, and for no more

    @property
    def condition_shape(self) -> tuple[int, int]:
        return SLOTS, self.network.config.projection_class_embeddings_input_dim // SLOTS

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        return {"prompt_embeds": class_label(condition), "negative_prompt_embeds": class_label(unconditional)}

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        label = class_label(condition)
        return self.network(noisy, timestep, encoder_hidden_states=None, class_labels=label).sample


def class_label(condition: torch.Tensor) -> torch.Tensor:
    """Conditions (B, L, E) as the UNet takes them: (B, L E)."""
    return clear_phrases(condition).flatten(1)
