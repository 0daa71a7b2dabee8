"""Refines the image decoder with the critic's perceptual loss.

Flow matching weighs every latent value alike, and a thing that covers a few cells little, although it is decided from
half of the noise on whether it becomes a bird or a blur. So the network's estimate of the clean latents is decoded
there, and its features are compared with those of the image itself (a perceptual loss for diffusion: 2401.00110, with a
critic of our own). The flow-matching loss of the same step keeps the rest in place.

Shapes: R images that are decoded, C latent channels, h x w latent pixels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from decoders.base import image_tensor
from decoders.diffusion import TRAIN_TIMESTEPS
from decoders.image_critic import ImageCritic, load_critic
from train.foundations.autoencoders.vae import decode
from train.foundations.components import channels_last
from train.foundations.diffusion.captioned_flow import CaptionedFlow
from train.foundations.diffusion.image_diffusion import ImageDiffusionSettings, ImageDiffusionTask
from train.foundations.pools import WithArrays
from train.settings import setting


class ImageRefinementTask(ImageDiffusionTask):
    """Goes on with a trained UNet."""

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
