"""Images from image embeddings: a StableUnCLIPImg2ImgPipeline, as ImageBind-LLM draws (2309.03905, Sec. 3.3.2).

ImageBind's vision tower is OpenCLIP's ViT-H, whose embeddings Stable Diffusion 2.1 unCLIP was trained on; so whatever
ImageBind embeds can be drawn. Shapes: B images, E embedding width, C latent channels, h x w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import StableUnCLIPImg2ImgPipeline

from decoders.diffusion import encode_text
from decoders.image import ImageDecoder


class UnclipDecoder(ImageDecoder):
    """Conditions are image embeddings (B, 1, E), with the length that they have before normalisation."""

    pipeline_class = StableUnCLIPImg2ImgPipeline
    default_steps = 20
    default_guidance = 10.0

    @property
    def condition_shape(self) -> tuple[int, int]:
        return 1, self.pipeline.image_normalizer.mean.shape[1]

    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Refused: the pipeline's text encoder lives in another space than its image embeddings."""
        raise ValueError("an unCLIP decoder follows image embeddings, not captions: use embed_images, or ImageBind")

    def unconditional(self) -> torch.Tensor:
        """Zeros (1, 1, E), which the pipeline was trained with where no image was given."""
        return torch.zeros(1, *self.condition_shape)

    @torch.no_grad()
    def embed_images(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Conditions (B, 1, E) of uint8 images (H, W, 3) by the pipeline's own image encoder: what to aim at."""
        encoder = self.pipeline.image_encoder
        pixels = self.pipeline.feature_extractor(images=list(images), return_tensors="pt").pixel_values
        return encoder(pixels.to(self.device, encoder.dtype)).image_embeds[:, None]

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        """``unconditional`` is not needed: the pipeline puts zeros there itself."""
        return {"prompt": [""] * len(condition), "image_embeds": condition[:, 0]}

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """What the network predicts (noise or velocity, as its scheduler says); the prompt is empty."""
        prompt = encode_text(self.pipeline.tokenizer, self.pipeline.text_encoder, [""])
        labels = self.pipeline.noise_image_embeddings(condition[:, 0], noise_level=0)  # (B, 2 E)
        prompts = prompt.to(noisy).expand(len(noisy), -1, -1)
        return self.network(noisy, timestep, encoder_hidden_states=prompts, class_labels=labels).sample
