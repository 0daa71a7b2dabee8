"""Images from the phrases of a caption: a StableDiffusionPipeline that is shown pictures of what it is to draw.

    condition: phrases (B, L, E) ---------------+-> prompt tokens (B, L + h w, E + C + POSITION + L) -> UNet
               -> layout: boxes and their names |
               -> nearest known pictures, pasted -> VAE: latents of each cell

With ``collage`` in ``decoder.json`` the UNet draws what no picture is known of, and the background; known pictures are
laid over that, in the colours that are asked for: a small VAE keeps where things are and what colour they have, not
their details.

Shapes: B images, L phrases, E their width, C latent channels, h x w cells of the latents.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from decoders.image import ImageDecoder
from decoders.phrase_decoder import Shown, ShownDecoder, prompt_tokens
from decoders.phrases import clear_phrases


class PhraseImageDecoder(ShownDecoder, ImageDecoder):
    """See above."""

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        condition = clear_phrases(condition)
        shown: Sequence[Shown | None]
        if self.settings.collage:
            condition, shown = self.left_to_draw(condition)
        else:
            shown = [frame for [frame] in self.show(condition)]
        config = self.network.config
        return {
            "prompt_embeds": prompt_tokens(condition, shown, config).to(condition),
            "negative_prompt_embeds": prompt_tokens(unconditional, None, config).to(condition),
        }

    @torch.no_grad()
    def decode(self, condition: torch.Tensor, **settings: Any) -> list[np.ndarray]:
        images = super().decode(condition, **settings)
        if not self.settings.collage:
            return images
        phrases = clear_phrases(condition.to(self.device))
        return [self.lay_over([image], own)[0] for image, own in zip(images, phrases, strict=True)]

    @torch.no_grad()
    def to_media(self, made: torch.Tensor) -> np.ndarray:
        """Scaled latents (B, C, h, w) as images uint8 (B, H, W, 3)."""
        return np.stack([self.draw_latents(each[None]) for each in made])

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        tokens = prompt_tokens(condition, None, self.network.config)
        return super().predict(noisy, timestep, tokens)
