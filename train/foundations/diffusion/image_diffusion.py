"""The image decoder: a Stable-Diffusion-shaped pipeline trained by flow matching on latents of the image VAE.

Shapes: B images, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from decoders.base import caption_ids
from decoders.diffusion import flow_scheduler
from train.foundations.components import channels_last, load_component
from train.foundations.diffusion.captioned_flow import CaptionedFlow, DiffusionSettings, DiffusionTask, build_unet
from train.foundations.language.text_encoders import load_clip
from train.foundations.pools import TRAIN_SEED
from train.settings import setting


@dataclass(frozen=True)
class FrameDiffusionSettings(DiffusionSettings):
    """Settings that images and videos share."""

    seed: int = setting(TRAIN_SEED, low=0, help="of the stream of media, and of their captions")
    start: str = setting("", help="folder in the model folder of a UNet to go on from; none = a new one")
    thing_weight: float = setting(3.0, low=0, help="added to the weight of latent cells that captions speak of")
    sampling_shift: float = setting(1.0, above=0, help="> 1: more of the solver's steps at high noise")


@dataclass(frozen=True)
class ImageDiffusionSettings(FrameDiffusionSettings):
    """Settings of :class:`ImageDiffusionTask`."""

    pool: int = setting(16384, low=1, help="images, encoded once; at most")
    held_out: int = setting(128, low=2, help="images that evaluate() uses")
    block_out_channels: tuple[int, ...] = setting((96, 128), low=1)
    layers_per_block: int = setting(1, low=1)
    norm_num_groups: int = setting(16, low=1)
    attention_heads: int = setting(4, low=1)
    full_share: float = setting(0.3, low=0, high=1, help="captions that name everything")
    pair_share: float = setting(0.15, low=0, high=1, help="captions that name thing and colour")


class FrameDiffusionTask(DiffusionTask):
    """What images and videos share: the image VAE, CLIP, and the greater weight of what captions speak of."""

    settings: FrameDiffusionSettings

    def load_text_encoder(self) -> tuple[Any, Any]:
        return load_clip(self.model_dir)

    def tokenize(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"input_ids": caption_ids(self.tokenizer, captions)}

    def cell_weights(self, latents: torch.Tensor) -> torch.Tensor:
        frames = latents.shape[1] if self.modality == "video" else None
        covered = self.pool.covered_cells(self.vae.config["sample_size"], latents.shape[-1], frames)
        return 1 + self.settings.thing_weight * covered

    def pipeline_parts(self, model_dir: Path) -> dict[str, Any]:
        return {"scheduler": flow_scheduler(self.settings.sampling_shift)}


class ImageDiffusionTask(FrameDiffusionTask):
    """Trains a UNet2DConditionModel that attends to the caption at every level; exports ``image_decoder``."""

    Settings = ImageDiffusionSettings
    settings: ImageDiffusionSettings
    modality: ClassVar[str] = "image"
    pipeline_class = StableDiffusionPipeline

    def build_flow(self, latents: torch.Tensor, text_encoder: Any) -> CaptionedFlow:
        chosen = self.settings
        if chosen.start:
            unet = load_unet(self.model_dir / chosen.start)
        else:
            unet = build_unet(
                latents[0],
                chosen.block_out_channels,
                [True] * len(chosen.block_out_channels),
                chosen.attention_heads,
                layers_per_block=chosen.layers_per_block,
                norm_num_groups=chosen.norm_num_groups,
                cross_attention_dim=text_encoder.config.hidden_size,
            )
        return CaptionedFlow(channels_last(unet), text_encoder, chosen.condition_noise, chosen.shift)

    def pipeline_parts(self, model_dir: Path) -> dict[str, Any]:
        no_checker = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return super().pipeline_parts(model_dir) | no_checker


def load_unet(folder: Path) -> UNet2DConditionModel:
    """A trained UNet in full precision."""
    return load_component(UNet2DConditionModel, folder, "image UNet", "image_diffusion")
