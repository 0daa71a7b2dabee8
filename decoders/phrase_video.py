"""Videos from the phrases of a caption: an AnimateDiffPipeline that is shown, frame by frame, what it is to draw.

A small network says in which pose each thing is in each frame (decoders.layout); the UNet draws the frames as it draws
images, and its motion modules make one video of them.
Shapes: B videos, F frames, L phrases, E their width, T prompt tokens of a frame, D their width, C latent channels,
h x w cells of the latents.
"""

from typing import Any

import numpy as np
import torch

from decoders.base import Decoder, DecoderSettings
from decoders.phrase_decoder import ShownDecoder, prompt_tokens
from decoders.phrases import SLOTS, clear_phrases
from decoders.video import VideoDecoder


class PhraseVideoDecoder(ShownDecoder, VideoDecoder):
    """See above."""

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        self.network.register_forward_pre_hook(_own_tokens, with_kwargs=True)

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        condition = clear_phrases(condition)
        shown, config = self.show(condition), self.network.config
        frames = [
            prompt_tokens(each.expand(self.frames, -1, -1), own, config)
            for each, own in zip(condition, shown, strict=True)
        ]
        empty = prompt_tokens(unconditional, None, config).repeat(1, self.frames, 1)
        return {
            "prompt_embeds": torch.stack(frames).flatten(1, 2).to(condition),  # (B, F T, D)
            "negative_prompt_embeds": empty.to(condition),
            "num_frames": self.frames,
        }

    @torch.no_grad()
    def to_media(self, made: torch.Tensor) -> np.ndarray:
        """Scaled latents (B, C, F, h, w) as videos uint8 (B, F, H, W, 3)."""
        frames = made.transpose(1, 2)
        return np.stack([[Decoder.draw_latents(self, frame[None]) for frame in each] for each in frames])

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        tokens = prompt_tokens(condition, None, self.network.config)
        return super().predict(noisy, timestep, tokens)


def _own_tokens(network: Any, arguments: tuple, keywords: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Give each frame its own prompt tokens. The pipeline knows one prompt a video, and repeats it for every frame:
    (B F, F T, D) with those of all frames -> (B F, T, D). Tokens of one frame alone are left as they are."""
    states = keywords["encoder_hidden_states"]
    own = network.config.sample_size**2 + SLOTS
    frames = states.shape[1] // own
    if frames > 1:
        first = states[::frames]  # (B, F T, D)
        states = first.unflatten(1, (frames, own)).flatten(0, 1)
    return arguments, {**keywords, "encoder_hidden_states": states}
