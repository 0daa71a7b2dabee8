"""Refines the image decoder by the eyes of the critic: what it denoises is to look like the picture.

    nextgpt-lite train train/recipes/image_refinement.yaml

Flow matching weighs every latent number alike, and a thing that covers a few cells little. From half of the noise on it
is decided all the same whether it becomes a bird or a blur. So there the network's guess of the clean latents is
decoded, and its features are held against those of the picture itself (a perceptual loss for diffusion: 2401.00110,
with a critic of our own). The flow-matching loss of the same step keeps the rest in place.

Letters: R pictures that are decoded, C latent channels, h x w latent pixels, H x W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.utils.data import Dataset

from decoders.diffusion import TRAIN_TIMESTEPS
from decoders.image import image_tensor
from decoders.image_critic import ImageCritic, load_critic
from train.foundations.diffusion.image_diffusion import CaptionedFlow, CaptionedLatents, ImageDiffusionTask
from train.foundations.pools import image_masks, image_pictures


class ImageRefinementTask(ImageDiffusionTask):
    """Goes on with a trained UNet."""

    DEFAULTS: ClassVar[dict[str, Any]] = ImageDiffusionTask.DEFAULTS | {
        "start": "image_decoder/unet",
        "looks": 16,  # pictures of a batch that are decoded and looked at
        "looks_weight": 1.0,  # of the critic's distance
        "looks_from": 0.75,  # noise level from which on the critic looks: at higher ones a blur is the right guess
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        self.model = RefinedFlow(self.flow, self.vae, load_critic(self.model_dir), self.settings)
        stream, count = self.dataset.stream, len(self.dataset.latents)
        size, cache_dir = self.vae.config.sample_size, self.settings["cache_dir"]
        pictures = image_pictures(stream, count, size, cache_dir)
        self.dataset = WithPictures(self.dataset, pictures, image_masks(stream, count, size, cache_dir))

    def collate(self, items: list[tuple]) -> dict[str, torch.Tensor]:
        """The batch of :class:`ImageDiffusionTask`, and ``pixels`` and ``mask`` of its first items."""
        looked_at = items[: self.settings["looks"]]
        return super().collate([item[:3] for item in items]) | {
            "pixels": image_tensor([item[3] for item in looked_at]),
            "mask": torch.stack([torch.from_numpy(item[4])[None] / 255 for item in looked_at]),
        }


class WithPictures(Dataset):
    """Items of :class:`CaptionedLatents`, each with its picture (H, W, 3) and how much of each pixel things cover.

    ``pictures`` and ``masks`` are uint8, in the order of the latents.
    """

    def __init__(self, captioned: CaptionedLatents, pictures: np.ndarray, masks: np.ndarray) -> None:
        self.captioned, self.pictures, self.masks = captioned, pictures, masks

    def __len__(self) -> int:
        return len(self.captioned)

    def __getitem__(self, index: int) -> tuple:
        row = index % len(self.pictures)
        return *self.captioned[index], self.pictures[row], self.masks[row]


class RefinedFlow(nn.Module):
    """The flow-matching loss, and how differently the critic sees pictures and what the UNet makes of them."""

    def __init__(self, flow: CaptionedFlow, vae: AutoencoderKL, critic: ImageCritic, settings: dict[str, Any]) -> None:
        super().__init__()
        self.flow, self.vae, self.critic = flow, vae.to(memory_format=torch.channels_last), critic
        self.weight, self.start = settings["looks_weight"], settings["looks_from"]
        self.thing_weight = settings["thing_weight"]

    def forward(
        self,
        latents: torch.Tensor,
        input_ids: torch.Tensor,
        weight: torch.Tensor,
        pixels: torch.Tensor,
        mask: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """``pixels`` (R, 3, H, W) and ``mask`` (R, 1, H, W) of the first R of the batch; see :class:`CaptionedFlow`."""
        flow = self.flow(latents, input_ids, weight)["loss"]
        looked_at = len(pixels)
        guess = self.guess(latents[:looked_at], input_ids[:looked_at])
        pixel_weight = 1 + self.thing_weight * mask
        seen = self.critic.distance(self.decoded(guess), pixels, pixel_weight / pixel_weight.mean())
        return {"loss": flow + self.weight * seen, "flow": flow.detach(), "seen": seen.detach()}

    def guess(self, latents: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """Clean latents (R, C, h, w) as the UNet guesses them from noisy ones and their captions."""
        with torch.no_grad():
            condition = self.flow.text_encoder(input_ids)[0]
            condition = condition + self.flow.condition_noise * torch.randn_like(condition)
        levels = self.start * torch.rand(len(latents), 1, 1, 1, device=latents.device)
        noisy = (1 - levels) * latents + levels * torch.randn_like(latents)
        return noisy - levels * self.flow.velocity(noisy, levels.flatten() * TRAIN_TIMESTEPS, condition)

    def decoded(self, latents: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample
