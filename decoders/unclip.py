"""Images from image embeddings: a StableUnCLIPImg2ImgPipeline, as ImageBind-LLM draws (2309.03905, Sec. 4).

ImageBind's vision tower is OpenCLIP's ViT-H, whose embeddings Stable Diffusion 2.1 unCLIP was trained on; so whatever
ImageBind embeds can be drawn. Letters: B images, E embedding width, C latent channels, h x w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from diffusers import StableUnCLIPImg2ImgPipeline

from decoders.base import OnStep
from decoders.diffusion import DiffusionDecoder, encode_text, to_uint8
from decoders.image import encode_images


class UnclipDecoder(DiffusionDecoder):
    """Conditions are image embeddings (B, 1, E), with the length that they have before normalisation."""

    modality: ClassVar[str] = "image"
    pipeline_class = StableUnCLIPImg2ImgPipeline
    default_steps: ClassVar[int] = 20
    default_guidance: ClassVar[float] = 10.0

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

    def call_pipeline(
        self,
        condition: torch.Tensor,
        unconditional: torch.Tensor,
        *,
        generators: list[torch.Generator],
        steps: int,
        guidance: float,
        on_step: OnStep | None,
    ) -> list[np.ndarray]:
        """``unconditional`` is not needed: the pipeline puts zeros there itself."""
        images = self.pipeline(
            prompt=[""] * len(condition),
            image_embeds=condition[:, 0],
            generator=generators,
            num_inference_steps=steps,
            guidance_scale=guidance,
            callback=None if on_step is None else lambda step, _timestep, _latents: on_step(step + 1, steps),
            output_type="np",
        ).images  # (B, H, W, 3) in [0, 1]
        return list(to_uint8(images))

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """What the network predicts (noise or velocity, as its scheduler says); the prompt is empty."""
        prompt = encode_text(self.pipeline.tokenizer, self.pipeline.text_encoder, [""])
        labels = self.pipeline.noise_image_embeddings(condition[:, 0], noise_level=0)  # (B, 2 E)
        prompts = prompt.to(noisy).expand(len(noisy), -1, -1)
        return self.pipeline.unet(noisy, timestep, encoder_hidden_states=prompts, class_labels=labels).sample

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, h, w) of uint8 images (H, W, 3)."""
        return encode_images(self.pipeline.vae, media)
