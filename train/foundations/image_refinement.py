"""Refines the image decoder on what it samples: the flow-matching loss, and a critic that reads its own pictures.

    nextgpt-lite train train/recipes/image_refinement.yaml

Flow matching asks for the mean velocity, and says little about a thing that covers a few latent cells; its samples then
have every stroke of a bird and are none. Here the solver runs with a caption to a random step, without gradients; from
there one step is taken to the end, decoded, and read by the critic (reward feedback learning: ImageReward,
2304.05977, section 3.2). The flow-matching loss of the same step keeps the samples in the world.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.utils.data import Dataset

from decoders.diffusion import TRAIN_TIMESTEPS, caption_ids, flow_sigmas
from train.foundations.captions import random_keep
from train.foundations.image_critic import ImageCritic, load_critic
from train.foundations.image_diffusion import CaptionedFlow, CaptionedLatents, ImageDiffusionTask


class ImageRefinementTask(ImageDiffusionTask):
    """Goes on with a trained UNet."""

    DEFAULTS: ClassVar[dict[str, Any]] = ImageDiffusionTask.DEFAULTS | {
        "start": "image_decoder/unet",
        "critic_weight": 0.1,  # of the critic's cross-entropy
        "rollouts": 16,  # captions a batch that are sampled from
        "rollout_steps": 12,
        "rollout_guidance": 2.0,
        "first_step": 4,  # steps before the critic may look: what it sees earlier is a blur, and rightly so
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        critic = load_critic(self.model_dir)
        self.model = RefinedFlow(self.model, self.vae, critic, caption_ids(self.tokenizer, [""]), self.settings)
        self.dataset = CaptionsWithClasses(self.dataset, critic)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"unet": list(self.model.flow.unet.parameters())}

    def collate(self, items: list[tuple]) -> dict[str, torch.Tensor]:
        """The batch of :class:`ImageDiffusionTask`; of the first items, captions ``told_ids`` and ``told_classes``."""
        told = [item[3:] for item in items[: self.settings["rollouts"]]]
        return super().collate([item[:3] for item in items]) | {
            "told_ids": caption_ids(self.tokenizer, [caption for caption, _ in told]),
            "told_classes": torch.tensor([classes for _, classes in told]),
        }

    def export(self, model_dir: Path) -> None:
        model = self.model
        self.model = model.flow
        super().export(model_dir)
        self.model = model

    def evaluate(self) -> dict[str, float]:
        model = self.model
        self.model = model.flow
        figures = super().evaluate()
        self.model = model
        return figures


class CaptionsWithClasses(Dataset):
    """Items of :class:`CaptionedLatents`, each with another caption, never empty, and the classes that it names."""

    def __init__(self, captioned: CaptionedLatents, critic: ImageCritic) -> None:
        self.captioned, self.critic = captioned, critic

    def __len__(self) -> int:
        return len(self.captioned)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str, str, list[int]]:
        settings, stream = self.captioned.settings, self.captioned.stream
        rng = np.random.default_rng((settings["seed"], index, 1))
        row = index % len(self.captioned.latents)
        keep, known = random_keep(rng.random(), rng, settings), stream.attributes(row)
        whole = keep is None or "thing" not in known  # the captions of a manifest are as they are
        named = known if whole else keep(known)
        return *self.captioned[index], stream.caption(row, lambda _: named), self.critic.classes(named)


class RefinedFlow(nn.Module):
    """The flow-matching loss, and the critic's on pictures that the UNet samples."""

    def __init__(
        self,
        flow: CaptionedFlow,
        vae: AutoencoderKL,
        critic: ImageCritic,
        empty_ids: torch.Tensor,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        self.flow, self.vae, self.critic = flow, vae.to(memory_format=torch.channels_last), critic
        self.register_buffer("empty_ids", empty_ids, persistent=False)  # (1, L)
        self.weight, self.guidance = settings["critic_weight"], settings["rollout_guidance"]
        self.first, self.steps = settings["first_step"], settings["rollout_steps"]
        self.register_buffer("levels", flow_sigmas(self.steps, settings["sampling_shift"]), persistent=False)

    def forward(self, told_ids: torch.Tensor, told_classes: torch.Tensor, **batch) -> dict[str, torch.Tensor]:
        """``told_ids`` (R, L) captions to sample from, ``told_classes`` (R, A) what they name."""
        flow = self.flow(**batch)["loss"]
        misread, right = self.critic.misread(self.sample(told_ids), told_classes)
        names = (f"{name}_right" for name in self.critic.attributes)
        parts = {"flow": flow.detach(), "misread": misread.detach(), **dict(zip(names, right, strict=True))}
        return {"loss": flow + self.weight * misread, **parts}

    def sample(self, told_ids: torch.Tensor) -> torch.Tensor:
        """Pictures (R, 3, H, W) of captions, with gradients through the last evaluation of the UNet only."""
        with torch.no_grad():
            condition = self.flow.text_encoder(told_ids)[0]
            condition = condition + self.flow.condition_noise * torch.randn_like(condition)
            empty = self.flow.text_encoder(self.empty_ids)[0].expand_as(condition)
            side = self.vae.config.sample_size // 2 ** (len(self.vae.config.block_out_channels) - 1)
            noisy = torch.randn(len(told_ids), self.vae.config.latent_channels, side, side)
            last = int(torch.randint(self.first, self.steps, ()))
            for level, following in zip(self.levels[:last], self.levels[1:], strict=False):
                noisy = noisy + (following - level) * self.guided(noisy, level, condition, empty)
        level = self.levels[last]
        latents = noisy - level * self.guided(noisy, level, condition, empty)
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample

    def guided(
        self, noisy: torch.Tensor, level: torch.Tensor, condition: torch.Tensor, empty: torch.Tensor
    ) -> torch.Tensor:
        """Velocity under classifier-free guidance; gradients reach the captioned one only."""
        timestep = (level * TRAIN_TIMESTEPS).expand(len(noisy))
        with torch.no_grad():
            plain = self.flow.velocity(noisy, timestep, empty)
        return plain + self.guidance * (self.flow.velocity(noisy, timestep, condition) - plain)
