"""Videos from conditions: AnimateDiff and ZeroScope, whose frames are latents of the image VAE; LTX-Video and Wan.

Shapes: B videos, F frames, H x W pixels, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline

from decoders.base import Decoder, DecoderSettings, encode_latents, notes_hidden, to_uint8, unscaled
from decoders.image import encode_images, image_tensor, resize_image
from decoders.prompted import PromptedDecoder, call_defaults, padding_mask


class VideoDecoder(Decoder):
    """An AnimateDiffPipeline; videos are at most as long as its motion modules learnt."""

    modality = "video"
    pipeline_class = AnimateDiffPipeline
    #: As many videos right as with ten, and time for a second candidate (nextgpt_lite.candidates).
    default_steps = 8
    #: Frames a second that it was trained on, where that is known.
    usual_rate: ClassVar[float | None] = None

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        #: Frames of a video; by default the length that the motion modules' position table was made for.
        self.frames: int = self.settings.frames or self.usual_frames
        self.check_frames()

    @property
    def rate(self) -> float | None:
        return self.settings.rate or self.usual_rate or super().rate

    @property
    def usual_frames(self) -> int:
        """Frames of a video where the folder says nothing."""
        return self.network.config.motion_max_seq_length

    def check_frames(self) -> None:
        """ValueError unless videos can have so many."""
        if self.frames > (longest := self.usual_frames):
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


class ZeroscopeDecoder(VideoDecoder):
    """A TextToVideoSDPipeline, as ModelScope and ZeroScope are: a UNet of three dimensions."""

    pipeline_class = "TextToVideoSDPipeline"
    default_steps, default_guidance = 50, 9.0
    usual_rate = 8.0

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        with notes_hidden("TextToVideoSDPipeline has been deprecated"):
            return super().from_pretrained(folder, dtype)

    @property
    def usual_frames(self) -> int:
        return call_defaults(self.pipeline)["num_frames"]

    def check_frames(self) -> None:
        """Any number will do."""

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return Decoder.predict(self, noisy, timestep, condition)

    def draw_latents(self, latents: torch.Tensor) -> np.ndarray:
        """A frame, which are what its solver has in its batch."""
        return Decoder.draw_latents(self, latents)


class PromptedVideoDecoder(PromptedDecoder, VideoDecoder):
    """What LTX-Video and Wan share: a transformer over latents that a VAE has drawn together in time too."""

    time_ratio: ClassVar[str]  #: which attribute of the pipeline has the frames of a latent frame

    @property
    def usual_frames(self) -> int:
        return call_defaults(self.pipeline)["num_frames"]

    def check_frames(self) -> None:
        ratio = getattr(self.pipeline, self.time_ratio)
        if (self.frames - 1) % ratio:
            raise ValueError(f"decoder.json: frames must be one more than a multiple of {ratio}, not {self.frames}")

    @property
    def size(self) -> int:
        return self.settings.size or call_defaults(self.pipeline)["height"]

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        own = {"height": self.size, "width": self.size, "num_frames": self.frames}
        return super().prompt(condition, unconditional) | own

    def draw_latents(self, latents: torch.Tensor) -> np.ndarray:
        """The middle frame of latents (1, C, f, h, w)."""
        vae = self.pipeline.vae
        frames = vae.decode(unscaled(vae, latents)).sample[0]  # (3, F, H, W) in [-1, 1]
        return to_uint8(frames[:, frames.shape[1] // 2].float().permute(1, 2, 0).cpu() / 2 + 0.5)

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, f, h, w) of uint8 videos (F, H, W, 3)."""
        videos = torch.stack([image_tensor(video) for video in media])  # (B, F, 3, H, W)
        return encode_latents(self.pipeline.vae, videos.transpose(1, 2))


class LtxVideoDecoder(PromptedVideoDecoder):
    """An LTXPipeline."""

    pipeline_class = "LTXPipeline"
    masked = True
    width_key = "caption_channels"
    usual_rate = 25.0
    time_ratio = "vae_temporal_compression_ratio"

    def encode(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor, None]:
        states, mask, *_ = self.pipeline.encode_prompt(
            captions, do_classifier_free_guidance=False, max_sequence_length=self.tokens
        )
        return states, mask, None

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        return super().prompt(condition, unconditional) | {"frame_rate": self.rate}

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        pipeline, (frames, height, width) = self.pipeline, noisy.shape[2:]
        patches = pipeline.transformer_spatial_patch_size, pipeline.transformer_temporal_patch_size
        side = pipeline.vae_spatial_compression_ratio
        made = self.network(
            hidden_states=pipeline._pack_latents(noisy, *patches),
            encoder_hidden_states=condition,
            timestep=timestep,
            encoder_attention_mask=padding_mask(condition),
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(pipeline.vae_temporal_compression_ratio / float(self.rate or 1), side, side),
        ).sample
        return pipeline._unpack_latents(made, frames, height, width, *patches)


class WanVideoDecoder(PromptedVideoDecoder):
    """A WanPipeline with one transformer, of Wan 2.1; its states end in zeros, which it does not mask."""

    pipeline_class = "WanPipeline"
    width_key = "text_dim"
    usual_rate = 16.0
    time_ratio = "vae_scale_factor_temporal"

    def encode(self, captions: list[str]) -> tuple[torch.Tensor, None, None]:
        states, _ = self.pipeline.encode_prompt(
            captions, do_classifier_free_guidance=False, max_sequence_length=self.tokens
        )
        return states, None, None

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.network(noisy, timestep=timestep, encoder_hidden_states=condition).sample


def resize_video(video: np.ndarray, frames: int, side: int) -> np.ndarray:
    """``frames`` of a video uint8 (F, H, W, 3), evenly, each fitted as an image is."""
    chosen = np.linspace(0, len(video) - 1, frames).round().astype(int)
    return np.stack([resize_image(frame, side) for frame in video[chosen]])
