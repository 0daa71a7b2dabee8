"""Videos from the phrases of a caption as an image in which known pictures move: no network in time.

    condition: phrases (B, L, E) -> what no picture is known of, and the background -> UNet, VAE: one image
               -> layout: the pose of each thing in each frame; its nearest known picture is laid over the image

A folder holds a StableDiffusionPipeline, a layout of as many frames as a video has, and ``animated`` in its
``decoder.json``.
A video costs what an image costs; what no picture is known of stands still.

Shapes: B videos, F frames, H x W pixels, L phrases, E their width, C latent channels, h x w cells of the latents.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from decoders.image import ImageDecoder
from decoders.phrase_image import PhraseImageDecoder
from decoders.phrases import clear_phrases
from decoders.video import resize_video


class PhraseAnimationDecoder(PhraseImageDecoder):
    """See above."""

    modality = "video"

    @property
    def frames(self) -> int:
        """Frames of a video: those of the layout."""
        assert self.layout is not None, "the decoder's layout is loaded with it"
        return self.layout.config.frames

    @torch.no_grad()
    def decode(self, condition: torch.Tensor, **settings: Any) -> list[np.ndarray]:
        images = ImageDecoder.decode(self, condition, **settings)
        phrases = clear_phrases(condition.to(self.device))
        pairs = zip(images, phrases, strict=True)
        return [np.stack(self.lay_over([image] * self.frames, own)) for image, own in pairs]

    def resize(self, medium: np.ndarray, rate: float | None) -> np.ndarray:
        return resize_video(medium, self.frames, self.size)

    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, h, w) of the first frames of uint8 videos (F, H, W, 3): what its network draws."""
        return super().encode_media([video[0] for video in media])
