"""The video decoder: the trained image UNet extended in time, an AnimateDiff-shaped pipeline.

Frames are latents of the image VAE, captions are read by the image decoder's text encoder. The whole UNet goes on
training: motion modules alone would have to correct what the image UNet makes of a single frame.
Shapes: B videos, F frames, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D, MotionAdapter, UNetMotionModel
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
from torch import nn

from train.foundations.components import channels_last, load_component
from train.foundations.diffusion.captioned_flow import CaptionedFlow
from train.foundations.diffusion.image_diffusion import FrameDiffusionSettings, FrameDiffusionTask, load_unet
from train.settings import setting


class VideoDiffusionTask(FrameDiffusionTask):
    """Trains a UNetMotionModel; exports ``video_decoder``."""

    @dataclass(frozen=True)
    class Settings(FrameDiffusionSettings):
        start: str = setting("", help="folder in the model folder of a video UNet; none = the image UNet")
        held_out: int = setting(32, low=2, help="videos that evaluate() uses")
        motion_heads: int = setting(4, low=1)
        full_share: float = setting(0.4, low=0, high=1, help="captions that name everything")
        pair_share: float = setting(0.05, low=0, high=1, help="captions that name thing and colour")
        attribute_share: float = setting(0.7, low=0, high=1, help="chance of an attribute in the other captions")

    settings: Settings
    modality: ClassVar[str] = "video"
    pipeline_class = AnimateDiffPipeline
    max_shard_size = "15MB"  # what a repository takes without complaint

    def build_flow(self, latents: torch.Tensor, text_encoder: Any) -> CaptionedFlow:
        chosen = self.settings
        if chosen.start:
            folder = self.model_dir / chosen.start
            unet = load_component(UNetMotionModel, folder, "video UNet", "video_diffusion")
        else:
            image_unet = load_unet(self.model_dir / "image_decoder" / "unet")
            unet = extend_in_time(image_unet, latents.shape[1], chosen.motion_heads)
        return VideoFlow(channels_last(unet), text_encoder, chosen.condition_noise, chosen.shift)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        parts: dict[str, list[nn.Parameter]] = {"motion": [], "image": []}
        for name, parameter in self.flow.unet.named_parameters():
            parts["motion" if "motion_modules" in name else "image"].append(parameter)
        return parts

    def pipeline_parts(self, model_dir) -> dict[str, Any]:
        return super().pipeline_parts(model_dir) | {"motion_adapter": None}


class VideoFlow(CaptionedFlow):
    """The flow-matching loss for videos (B, F, C, h, w): all frames of a video share its noise level and caption."""

    def velocity(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        each_frame = condition.repeat_interleave(noisy.shape[1], dim=0)  # (B * F, L, D)
        return super().velocity(noisy.transpose(1, 2), timestep, each_frame).transpose(1, 2)


def extend_in_time(unet: UNet2DConditionModel, frames: int, heads: int) -> UNetMotionModel:
    """The image UNet with motion modules that do nothing yet: at first every frame is an image of its own."""
    config = unet.config
    adapter = MotionAdapter(
        block_out_channels=config["block_out_channels"],
        motion_layers_per_block=config["layers_per_block"],
        motion_num_attention_heads=heads,
        motion_norm_num_groups=config["norm_num_groups"],
        motion_max_seq_length=frames,
    )
    extended: Any = UNetMotionModel.from_unet2d(unet, adapter)
    for module in extended.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
    return extended
