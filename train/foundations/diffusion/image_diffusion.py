"""The image decoder: a Stable-Diffusion-shaped pipeline trained by flow matching on latents of the image VAE.

Shapes: B images, R of them decoded, H x W pixels, C latent channels, h x w latent pixels, L condition tokens D wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import nn

from decoders.base import caption_ids
from decoders.diffusion import TRAIN_TIMESTEPS, flow_scheduler
from decoders.image import image_tensor
from decoders.image_critic import ImageCritic, load_critic
from train.foundations.autoencoders.vae import decode
from train.foundations.components import channels_last, load_component
from train.foundations.diffusion.captioned_flow import CaptionedFlow, DiffusionSettings, DiffusionTask, build_unet
from train.foundations.language.text_encoders import load_clip
from train.foundations.pools import TRAIN_SEED, WithArrays
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
            channels, width = chosen.block_out_channels, text_encoder.config.hidden_size
            blocks = {"layers_per_block": chosen.layers_per_block, "norm_num_groups": chosen.norm_num_groups}
            levels = (latents[0], channels, [True] * len(channels), chosen.attention_heads)
            unet = build_unet(*levels, cross_attention_dim=width, **blocks)
        return CaptionedFlow(channels_last(unet), text_encoder, chosen.condition_noise, chosen.shift)

    def pipeline_parts(self, model_dir: Path) -> dict[str, Any]:
        no_checker = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return super().pipeline_parts(model_dir) | no_checker


def load_unet(folder: Path) -> UNet2DConditionModel:
    """A trained UNet in full precision."""
    return load_component(UNet2DConditionModel, folder, "image UNet", "image_diffusion")


class ImageRefinementTask(ImageDiffusionTask):
    """Refines a trained UNet with the critic's perceptual loss.

    Flow matching weighs every latent value alike, and a thing that covers a few cells little, although it is decided
    from half of the noise on whether it becomes a bird or a blur. So the network's estimate of the clean latents is
    decoded there, and its features are compared with those of the image itself (a perceptual loss for diffusion:
    2401.00110, with a critic of our own). The flow-matching loss of the same step keeps the rest in place.
    """

    @dataclass(frozen=True)
    class Settings(ImageDiffusionSettings):
        start: str = setting("image_decoder/unet", help="folder in the model folder of the UNet to refine")
        looks: int = setting(16, low=1, help="images of a batch that are decoded and compared")
        looks_weight: float = setting(1.0, low=0, help="of the perceptual loss")
        looks_from: float = setting(0.75, above=0, high=1, help="greatest noise level of it: beyond, a blur is right")

    settings: Settings

    def build(self) -> None:
        super().build()
        self.model = RefinedFlow(self.flow, self.vae, load_critic(self.model_dir), self.settings)
        size = self.vae.config["sample_size"]
        # Items: latents, weight, caption, image (H, W, 3) uint8, and how much of each pixel things cover, 255 = all.
        self.dataset = WithArrays(self.captioned, self.pool.pixels(size), self.pool.masks(size))

    @property
    def flow(self) -> CaptionedFlow:
        return self.model.flow if isinstance(self.model, RefinedFlow) else super().flow

    def collate(self, items: list[tuple]) -> dict[str, torch.Tensor]:
        """The batch of :class:`ImageDiffusionTask`, and ``pixels`` and ``mask`` of its first items."""
        decoded = items[: self.settings.looks]
        return super().collate([item[:3] for item in items]) | {
            "pixels": image_tensor([item[3] for item in decoded]),
            "mask": torch.stack([torch.from_numpy(item[4])[None] / 255 for item in decoded]),
        }


class RefinedFlow(nn.Module):
    """The flow-matching loss, and the perceptual distance between images and what the UNet makes of them."""

    def __init__(
        self, flow: CaptionedFlow, vae: AutoencoderKL, critic: ImageCritic, settings: ImageRefinementTask.Settings
    ) -> None:
        super().__init__()
        self.flow, self.vae, self.critic, self.settings = flow, channels_last(vae), critic, settings

    def forward(
        self,
        latents: torch.Tensor,
        input_ids: torch.Tensor,
        weight: torch.Tensor,
        pixels: torch.Tensor,
        mask: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """``pixels`` (R, 3, H, W) and ``mask`` (R, 1, H, W) of the first R of the batch; see :class:`CaptionedFlow`."""
        flow = self.flow(latents, weight, input_ids=input_ids)["loss"]
        estimate = self.estimate(latents[: len(pixels)], input_ids[: len(pixels)])
        pixel_weight = 1 + self.settings.thing_weight * mask
        decoded = decode(self.vae, estimate / self.vae.config["scaling_factor"])
        perceptual = self.critic.distance(decoded, pixels, pixel_weight / pixel_weight.mean())
        loss = flow + self.settings.looks_weight * perceptual
        return {"loss": loss, "flow": flow.detach(), "perceptual": perceptual.detach()}

    def estimate(self, latents: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """Clean latents (R, C, h, w) as the UNet estimates them from noisy ones and their captions."""
        condition = self.flow.noisy(self.flow.condition(input_ids))
        levels = self.settings.looks_from * torch.rand(len(latents), 1, 1, 1, device=latents.device)
        noisy = (1 - levels) * latents + levels * torch.randn_like(latents)
        return noisy - levels * self.flow.velocity(noisy, levels.flatten() * TRAIN_TIMESTEPS, condition)
