"""Images from conditions: pipelines of Stable Diffusion, its XL, unCLIP and 3, Sana and Flux.

Shapes: B images, H x W pixels, C latent channels, h x w latent pixels, L condition tokens, D their width, E width of
an image embedding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import StableUnCLIPImg2ImgPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from PIL import Image
from torch.nn import functional

from decoders.base import Decoder, encode_latents, encode_text
from decoders.prompted import PromptedDecoder, call_defaults, padding_mask


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
    #: Texts -> unit vectors (B, E) in the space of its image embeddings, as ImageBind's text tower makes them.
    embed_text: Callable[[list[str]], torch.Tensor] | None = None

    @property
    def condition_shape(self) -> tuple[int, int]:
        return 1, self.pipeline.image_normalizer.mean.shape[1]

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, 1, E) by :attr:`embed_text`, as long as image embeddings are; ValueError without it: the
        pipeline's own text encoder lives in another space than its image embeddings."""
        if self.embed_text is None:
            raise ValueError("an unCLIP decoder follows image embeddings, not captions: use embed_images, or ImageBind")
        unit = self.embed_text(list(captions)).cpu()  # (B, E)
        _, width = self.condition_shape
        if unit.shape[1] != width:
            raise ValueError(f"texts are embedded in {unit.shape[1]} numbers, the unCLIP decoder takes {width}")
        normalizer = self.pipeline.image_normalizer
        return (unit * (normalizer.mean**2 + normalizer.std**2).sum().sqrt().cpu())[:, None]

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


class PromptedImageDecoder(PromptedDecoder, ImageDecoder):
    """What Stable Diffusion 3, Sana and Flux share."""

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        return super().prompt(condition, unconditional) | {"height": self.size, "width": self.size}


class Sd3ImageDecoder(PromptedImageDecoder):
    """A StableDiffusion3Pipeline: the states of CLIP's two text encoders, then T5's, then CLIP's pooled ones."""

    pipeline_class = "StableDiffusion3Pipeline"
    pooled = True
    width_key = "joint_attention_dim"

    @property
    def condition_shape(self) -> tuple[int, int]:
        length, width = super().condition_shape
        return self.pipeline.tokenizer_max_length + length, width

    def encode(self, captions: list[str]) -> tuple[torch.Tensor, None, torch.Tensor]:
        states, _, pooled, _ = self.pipeline.encode_prompt(
            captions, None, None, do_classifier_free_guidance=False, max_sequence_length=self.tokens
        )
        return states, None, pooled

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        states, pooled = self.parts(condition)
        return self.network(noisy, encoder_hidden_states=states, pooled_projections=pooled, timestep=timestep).sample


class SanaImageDecoder(PromptedImageDecoder):
    """A SanaPipeline: Gemma's states, behind the instruction with which the pipeline has it enhance captions."""

    pipeline_class = "SanaPipeline"
    masked = True
    width_key = "caption_channels"

    def encode(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor, None]:
        instruction = call_defaults(self.pipeline)["complex_human_instruction"]
        states, mask, *_ = self.pipeline.encode_prompt(
            captions, False, max_sequence_length=self.tokens, complex_human_instruction=instruction
        )
        return states, mask, None

    def unconditional(self) -> torch.Tensor:
        """Of the empty caption without the instruction, as the pipeline has it."""
        states, mask, *_ = self.pipeline.encode_prompt([""], False, max_sequence_length=self.tokens)
        return states * mask[..., None]

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        own = {"negative_prompt": None, "use_resolution_binning": False}
        return super().prompt(condition, unconditional) | own

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        steps = timestep * self.network.config.timestep_scale
        mask = padding_mask(condition)
        return self.network(noisy, encoder_hidden_states=condition, timestep=steps, encoder_attention_mask=mask).sample


class FluxImageDecoder(PromptedImageDecoder):
    """A FluxPipeline: T5's states, then CLIP's pooled embedding. Guidance is a number that its network is given."""

    pipeline_class = "FluxPipeline"
    pooled, negative = True, False
    width_key = "joint_attention_dim"

    @property
    def size(self) -> int:
        return self.settings.size or self.pipeline.default_sample_size * self.pipeline.vae_scale_factor

    def encode(self, captions: list[str]) -> tuple[torch.Tensor, None, torch.Tensor]:
        states, pooled, _ = self.pipeline.encode_prompt(captions, max_sequence_length=self.tokens)
        return states, None, pooled

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        pipeline, (states, pooled) = self.pipeline, self.parts(condition)
        count, channels, height, width = noisy.shape
        places = pipeline._prepare_latent_image_ids(count, height // 2, width // 2, noisy.device, noisy.dtype)
        guided = self.network.config.guidance_embeds
        made = self.network(
            pipeline._pack_latents(noisy, count, channels, height, width),
            encoder_hidden_states=states,
            pooled_projections=pooled,
            timestep=timestep / 1000,
            img_ids=places,
            txt_ids=noisy.new_zeros(states.shape[1], 3),
            guidance=noisy.new_full((count,), self.default_guidance) if guided else None,
        ).sample
        scale = pipeline.vae_scale_factor
        return pipeline._unpack_latents(made, height * scale, width * scale, scale)


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
