"""Images from conditions: pipelines of Stable Diffusion, Stable Diffusion XL and Stable Diffusion unCLIP.

Shapes: B images, H x W pixels, C latent channels, h x w latent pixels, L condition tokens, D their width, E width of
an image embedding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import StableUnCLIPImg2ImgPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from PIL import Image
from torch.nn import functional

from decoders.base import Decoder, encode_latents, encode_text


class ImageDecoder(Decoder):
    """A StableDiffusionPipeline."""

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


class UnclipDecoder(ImageDecoder):
    """A StableUnCLIPImg2ImgPipeline, as ImageBind-LLM draws (2309.03905, Sec. 3.3.2).

    Conditions are image embeddings (B, 1, E), with the length that they have before normalisation. ImageBind's vision
    tower is OpenCLIP's ViT-H, whose embeddings Stable Diffusion 2.1 unCLIP was trained on; so whatever ImageBind embeds
    can be drawn.
    """

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


def resize_image(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (side, side, 3): the middle square, scaled."""
    height, width = image.shape[:2]
    if (height, width) == (side, side):
        return image
    square = min(height, width)
    left, top = (width - square) // 2, (height - square) // 2
    box = (left, top, left + square, top + square)
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=box))


def image_tensor(images: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """uint8 images (H, W, 3) as (B, 3, H, W) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(list(images)))  # (B, H, W, 3)
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1


def encode_images(vae: Any, images: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """Scaled latents (B, C, h, w) of uint8 images (H, W, 3)."""
    return encode_latents(vae, image_tensor(images))
