"""Videos from conditions: an AnimateDiffPipeline, whose frames are latents of the image VAE.

Shapes: B videos, F frames, H x W pixels, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline

from decoders.base import Decoder, DecoderSettings
from decoders.image import encode_images, resize_image


class VideoDecoder(Decoder):
    """An AnimateDiffPipeline; videos are at most as long as its motion modules learnt."""

    modality = "video"
    pipeline_class = AnimateDiffPipeline
    #: As many videos right as with ten, and time for a second candidate (nextgpt_lite.candidates).
    default_steps = 8

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        longest = self.network.config.motion_max_seq_length
        #: Frames of a video; by default the length that the motion modules' position table was made for.
        self.frames: int = self.settings.frames or longest
        if self.frames > longest:
            raise ValueError(f"decoder.json: frames must be at most {longest}, the motion modules', not {self.frames}")

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        return super().prompt(condition, unconditional) | {"num_frames": self.frames}

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        # The network folds the frames into the batch, so every frame needs its condition.
        each_frame = condition.repeat_interleave(noisy.shape[2], dim=0)  # (B * F, L, D)
        return super().predict(noisy, timestep, each_frame)

    def draw_latents(self, latents: torch.Tensor) -> np.ndarray:
        """The middle frame of latents (1, C, F, h, w)."""
        return super().draw_latents(latents[:, :, latents.shape[2] // 2])

    def resize(self, medium: np.ndarray, rate: float | None) -> np.ndarray:
        return resize_video(medium, self.frames, self.size)

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, F, h, w) of uint8 videos (F, H, W, 3)."""
        videos = np.stack(list(media))  # (B, F, H, W, 3)
        latents = encode_images(self.pipeline.vae, videos.reshape(-1, *videos.shape[2:]))  # (B * F, C, h, w)
        return latents.unflatten(0, videos.shape[:2]).transpose(1, 2)


def resize_video(video: np.ndarray, frames: int, side: int) -> np.ndarray:
    """``frames`` of a video uint8 (F, H, W, 3), evenly, each fitted as an image is."""
    chosen = np.linspace(0, len(video) - 1, frames).round().astype(int)
    return np.stack([resize_image(frame, side) for frame in video[chosen]])
