"""Images from conditions: a StableDiffusionPipeline.

Letters: B images, H x W pixels, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from decoders.base import OnStep
from decoders.diffusion import DiffusionDecoder, step_end_callback, to_uint8


class ImageDecoder(DiffusionDecoder):
    """A StableDiffusionPipeline as a :class:`~decoders.base.Decoder`."""

    modality: ClassVar[str] = "image"
    pipeline_class = StableDiffusionPipeline
    #: More steps change little; the same time is better spent on more candidates (nextgpt_lite.candidates).
    default_steps = 8
    #: More guidance makes colours stronger, and orange yellow.
    default_guidance = 2.0

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
        images = self.pipeline(
            prompt_embeds=condition,
            negative_prompt_embeds=unconditional,
            generator=generators,
            num_inference_steps=steps,
            guidance_scale=guidance,
            callback_on_step_end=step_end_callback(on_step, steps),
            output_type="np",
        ).images  # (B, H, W, 3) in [0, 1]
        return list(to_uint8(images))

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.pipeline.unet(noisy, timestep, encoder_hidden_states=condition).sample

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, h, w) of uint8 images (H, W, 3)."""
        return encode_images(self.pipeline.vae, media)


def image_tensor(images: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """uint8 images (H, W, 3) as (B, 3, H, W) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(list(images)))  # (B, H, W, 3)
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1


def encode_images(vae: AutoencoderKL, images: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """Scaled latents (B, C, h, w) of uint8 images: the mean of the posterior times the VAE's scaling factor."""
    pixels = image_tensor(images).to(vae.device, vae.dtype)
    return vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
