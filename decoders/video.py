"""Videos from conditions: an AnimateDiffPipeline, whose frames are latents of the image VAE.

Letters: B videos, F frames, H x W pixels, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from diffusers import AnimateDiffPipeline

from decoders.base import OnStep
from decoders.diffusion import DiffusionDecoder, step_end_callback, to_uint8
from decoders.image import encode_images


class VideoDecoder(DiffusionDecoder):
    """An AnimateDiffPipeline as a :class:`~decoders.base.Decoder`. Videos are as long as its motion modules learnt."""

    modality: ClassVar[str] = "video"
    pipeline_class = AnimateDiffPipeline
    #: As many films right as with ten, and time for a second candidate (nextgpt_lite.candidates).
    default_steps: ClassVar[int] = 8

    @property
    def frames(self) -> int:
        """Frames of a video: the length that the motion modules' position table was made for."""
        return self.pipeline.unet.config.motion_max_seq_length

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
        videos = self.pipeline(
            prompt_embeds=condition,
            negative_prompt_embeds=unconditional,
            generator=generators,
            num_frames=self.frames,
            num_inference_steps=steps,
            guidance_scale=guidance,
            callback_on_step_end=step_end_callback(on_step, steps),
            output_type="np",
        ).frames  # (B, F, H, W, 3) in [0, 1]
        return list(to_uint8(videos))

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        # The network folds the frames into the batch, so every frame needs its condition.
        each_frame = condition.repeat_interleave(noisy.shape[2], dim=0)  # (B * F, L, D)
        return self.pipeline.unet(noisy, timestep, encoder_hidden_states=each_frame).sample

    def draw_latents(self, latents: torch.Tensor) -> np.ndarray:
        """The middle frame of latents (1, C, F, h, w)."""
        return super().draw_latents(latents[:, :, latents.shape[2] // 2])

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, F, h, w) of uint8 videos (F, H, W, 3)."""
        videos = np.stack(list(media))  # (B, F, H, W, 3)
        latents = encode_images(self.pipeline.vae, videos.reshape(-1, *videos.shape[2:]))  # (B * F, C, h, w)
        return latents.unflatten(0, videos.shape[:2]).transpose(1, 2)
