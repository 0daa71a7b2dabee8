"""Images from conditions: a StableDiffusionPipeline, or a StableDiffusionXLPipeline with its pooled embeddings.

Shapes: B images, H x W pixels, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from PIL import Image
from torch.nn import functional

from decoders.base import image_tensor
from decoders.diffusion import DiffusionDecoder


class ImageDecoder(DiffusionDecoder):
    """A StableDiffusionPipeline as a :class:`~decoders.base.Decoder`."""

    modality = "image"
    pipeline_class = StableDiffusionPipeline
    #: More steps change little; the same time is better spent on more candidates (nextgpt_lite.candidates).
    default_steps = 8
    #: More guidance makes colours stronger, and orange yellow.
    default_guidance = 2.0

    def resize(self, medium: np.ndarray, rate: float | None) -> np.ndarray:
        """The middle square of an image uint8 (H, W, 3), scaled to the decoder's size."""
        return resize_image(medium, self.size)

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, h, w) of uint8 images (H, W, 3)."""
        return encode_images(self.pipeline.vae, media)


class XlImageDecoder(ImageDecoder):
    """A StableDiffusionXLPipeline: L - 1 hidden states of two text encoders, then their pooled embedding.

    The pooled embedding is the last token of the condition, with zeros behind it up to the width D.
    """

    pipeline_class = StableDiffusionXLPipeline
    default_steps = 30
    default_guidance = 5.0

    @property
    def condition_shape(self) -> tuple[int, int]:
        return self.pipeline.tokenizer_2.model_max_length + 1, self.network.config.cross_attention_dim

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        states, _, pooled, _ = self.pipeline.encode_prompt(list(captions), do_classifier_free_guidance=False)
        padded = functional.pad(pooled, (0, states.shape[-1] - pooled.shape[-1]))
        return torch.cat([states, padded[:, None].to(states)], dim=1)

    def unconditional(self) -> torch.Tensor:
        """Zeros, or the empty caption, as the pipeline was trained."""
        if self.pipeline.config.force_zeros_for_empty_prompt:
            return torch.zeros(1, *self.condition_shape)
        return super().unconditional()

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        (states, pooled), (negative, negative_pooled) = self._parts(condition), self._parts(unconditional)
        return {
            **{"prompt_embeds": states, "pooled_prompt_embeds": pooled},
            **{"negative_prompt_embeds": negative, "negative_pooled_prompt_embeds": negative_pooled},
        }

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        states, pooled = self._parts(condition)
        height, width = (side * self.pipeline.vae_scale_factor for side in noisy.shape[-2:])
        size = noisy.new_tensor([height, width, 0, 0, height, width]).expand(len(noisy), -1)  # original, crop, target
        added = {"text_embeds": pooled, "time_ids": size}
        return self.network(noisy, timestep, encoder_hidden_states=states, added_cond_kwargs=added).sample

    def _parts(self, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Conditions (B, L, D) -> hidden states (B, L - 1, D), pooled embeddings (B, P)."""
        return condition[:, :-1], condition[:, -1, : self.pipeline.text_encoder_2.config.projection_dim]


def resize_image(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (side, side, 3): the middle square, scaled."""
    height, width = image.shape[:2]
    if (height, width) == (side, side):
        return image
    square = min(height, width)
    left, top = (width - square) // 2, (height - square) // 2
    box = (left, top, left + square, top + square)
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=box))


def encode_images(vae: AutoencoderKL, images: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """Scaled latents (B, C, h, w) of uint8 images: the mean of the posterior times the VAE's scaling factor."""
    pixels = image_tensor(images).to(vae.device, vae.dtype)
    encoded: Any = vae.encode(pixels)
    return encoded.latent_dist.mean * vae.config["scaling_factor"]
