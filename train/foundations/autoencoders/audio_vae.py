"""The autoencoder of the audio decoder: log-mel (1, 200, 64) to latents (8, 25, 8) and back.

    nextgpt-lite train train/recipes/audio_vae.yaml

It speaks raw log-mels, because AudioLDMPipeline hands what it decodes straight to the vocoder; its first and last
convolutions start out scaled so that the layers between them see values of about unit size.
Letters: B sounds, T mel frames, M mel bands, C latent channels.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL
from torch import nn

from decoders.mel import MIDDLE, QUIET, SPREAD
from train.foundations.audio_clips import HELD_OUT_SEED, MelStream, sounds_of
from train.foundations.autoencoders.image_vae import standardise_latents
from train.foundations.pools import write_component
from train.task import Task
from train.worlds import open_world


class AudioVaeTask(Task):
    """Absolute error of the log-mel, loud parts first, plus a light pull of the posterior to the unit Gaussian."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; none = Toybox
        "seed": 11,  # stream of sounds
        "channels": [16, 16, 32, 64],  # width of each level; three halvings
        "latent_channels": 8,
        "groups": 8,  # of the group norms
        "divergence_weight": 2e-4,  # of the Kullback-Leibler divergence a latent value
        "held_out": 96,  # sounds of evaluate()
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path):
        super().__init__(settings, model_dir)
        chosen = self.settings
        vae = build_vae(chosen["channels"], chosen["latent_channels"], chosen["groups"])
        self.model = MelAutoencoder(vae, chosen["divergence_weight"])
        self.world = open_world(chosen["data"])
        self.dataset = MelStream(sounds_of(self.world, chosen["seed"]))

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"vae": list(self.model.parameters())}

    def collate(self, items: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """{"mel": (B, 1, T, M)}."""
        return {"mel": torch.stack(items).unsqueeze(1)}

    @torch.no_grad()
    def export(self, model_dir: Path) -> None:
        """``audio_decoder/vae``, fp16, its latents standardised on sounds of the training stream."""
        vae = copy.deepcopy(self.model.vae)
        standardise_latents(vae, self._mels(self.dataset))
        write_component(model_dir / "audio_decoder" / "vae", vae.half().save_pretrained)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On fresh scenes: mean absolute error of the log-mel (natural-log units), whole and where it is loud."""
        mels = self._mels(MelStream(sounds_of(self.world, HELD_OUT_SEED, held_out=True)))
        error = (self.model.vae(mels).sample - mels).abs()
        return {"mel_error": error.mean().item(), "mel_error_loud": error[mels > -4].mean().item()}

    def _mels(self, sounds: MelStream) -> torch.Tensor:
        return self.collate([sounds[index] for index in range(self.settings["held_out"])])["mel"]


class MelAutoencoder(nn.Module):
    """The autoencoder and its loss."""

    def __init__(self, vae: AutoencoderKL, divergence_weight: float):
        super().__init__()
        self.vae = vae
        self.divergence_weight = divergence_weight

    def forward(self, mel: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss of log-mels (B, 1, T, M)."""
        posterior = self.vae.encode(mel).latent_dist
        decoded = self.vae.decode(posterior.sample()).sample
        error = ((decoded.float() - mel).abs() * loudness(mel)).mean() / SPREAD
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return {
            "loss": error + self.divergence_weight * divergence,
            "error": error.detach(),
            "divergence": divergence.detach(),
        }


def loudness(mel: torch.Tensor) -> torch.Tensor:
    """How much each value of log-mels counts: what stands out of a quiet room, up to ten times as much."""
    return (mel - QUIET).clamp(1, 10)


def build_vae(channels: list[int], latent_channels: int, groups: int) -> AutoencoderKL:
    """An AutoencoderKL of single-channel pictures whose ends are scaled to log-mels."""
    levels = len(channels)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=groups,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    scale_ends(vae.encoder.conv_in, vae.decoder.conv_out)
    return vae


@torch.no_grad()
def scale_ends(first: nn.Conv2d, last: nn.Conv2d) -> None:
    """Make ``first`` take, and ``last`` give, raw log-mels; in between flows (mel - MIDDLE) / SPREAD."""
    first.weight /= SPREAD
    first.bias -= first.weight.sum((1, 2, 3)) * MIDDLE
    last.weight *= SPREAD
    last.bias.mul_(SPREAD).add_(MIDDLE)
