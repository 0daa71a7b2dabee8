"""The VAE of the audio decoder: log-mel (1, T, M) to latents (C, T / 8, M / 8) and back; of two seconds, T is 200.

It works on raw log-mels, because AudioLDMPipeline hands what it decodes straight to the vocoder; its first and last
convolutions start out scaled so that the layers between them see values of about unit size.
Shapes: B clips, T mel frames, M mel bands, C latent channels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from decoders.mel import MIDDLE, QUIET, SPREAD, log_mel
from train.foundations.autoencoders import vae as vaes
from train.foundations.components import load_component, write_component
from train.foundations.pools import AUDIO_HELD_OUT_SEED, DataSettings, EndlessDataset, media_of, waveforms
from train.settings import setting
from train.task import Task
from train.worlds import MediaStream, open_world


class AudioVaeTask(Task):
    """Absolute error of the log-mel, loud parts first, and a weak pull of the posterior to the unit Gaussian."""

    @dataclass(frozen=True)
    class Settings(DataSettings):
        seed: int = setting(11, low=0, help="of the stream of clips")
        channels: tuple[int, ...] = setting((16, 16, 32, 64), low=1, help="width of each level; all but one halve")
        latent_channels: int = setting(8, low=1)
        groups: int = setting(8, low=1, help="of the group norms")
        start: str = setting("", help="folder in the model folder of a VAE to go on from; none = a new one")
        divergence_weight: float = setting(2e-4, low=0, help="of the Kullback-Leibler divergence of a latent value")
        held_out: int = setting(96, low=1, help="clips that evaluate() uses")

    settings: Settings
    model: MelAutoencoder
    part = "vae"

    def build(self) -> None:
        chosen = self.settings
        if chosen.start:
            vae = load_component(AutoencoderKL, self.model_dir / chosen.start, "audio VAE", "audio_vae")
        else:
            vae = build_audio_vae(chosen.channels, chosen.latent_channels, chosen.groups)
        self.model = MelAutoencoder(vae, chosen.divergence_weight)
        self.world = open_world(chosen.data)
        self.dataset = self.mels = MelStream(media_of(self.world, "audio", chosen.seed))

    def collate(self, items: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """{"mel": (B, 1, T, M)}."""
        return {"mel": torch.stack(items).unsqueeze(1)}

    @torch.no_grad()
    def export(self, model_dir: Path) -> None:
        """``audio_decoder/vae``, fp16, its latents standardised on clips of the training stream."""
        vae = copy.deepcopy(self.model.vae)
        vaes.standardise_latents(vae, self._first(self.mels))
        write_component(vae.half(), Path(model_dir) / "audio_decoder" / "vae")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On unseen clips: mean absolute error of the log-mel (natural-log units), whole and where it is loud."""
        mels = self._first(MelStream(media_of(self.world, "audio", AUDIO_HELD_OUT_SEED, held_out=True)))
        error = (self.model.vae(mels).sample - mels).abs()
        return {"mel_error": error.mean().item(), "mel_error_loud": error[mels > -4].mean().item()}

    def _first(self, mels: MelStream) -> torch.Tensor:
        return self.collate([mels[index] for index in range(self.settings.held_out)])["mel"]


@dataclass(eq=False)
class MelStream(EndlessDataset):
    """Item i is the log-mel (T, M) of clip i of a stream, round after round: nothing is kept."""

    length = 1_000_000
    stream: MediaStream

    def __getitem__(self, index: int) -> torch.Tensor:
        return log_mel(waveforms(self.stream, [index % len(self.stream)]))[0]


class MelAutoencoder(nn.Module):
    """The VAE and its loss."""

    def __init__(self, vae: AutoencoderKL, divergence_weight: float) -> None:
        super().__init__()
        self.vae, self.divergence_weight = vae, divergence_weight

    def forward(self, mel: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss of log-mels (B, 1, T, M)."""
        latents = vaes.posterior(self.vae, mel)
        decoded = vaes.decode(self.vae, latents.sample())
        loudness = (mel - QUIET).clamp(1, 10)  # weights: 1 in a quiet room, up to 10 for what is louder
        error = ((decoded.float() - mel).abs() * loudness).mean() / SPREAD
        divergence = vaes.kl_divergence(latents)
        loss = error + self.divergence_weight * divergence
        return {"loss": loss, "error": error.detach(), "divergence": divergence.detach()}


@torch.no_grad()
def build_audio_vae(channels: tuple[int, ...], latent_channels: int, groups: int) -> AutoencoderKL:
    """An AutoencoderKL of one input channel that takes and gives raw log-mels; inside flows (mel - MIDDLE) / SPREAD."""
    vae = vaes.build_vae(channels, latent_channels, groups, in_channels=1, out_channels=1, layers_per_block=1)
    first_weight, first_bias = vaes.layer_parameters(vae.encoder.conv_in)
    last_weight, last_bias = vaes.layer_parameters(vae.decoder.conv_out)
    first_weight /= SPREAD
    first_bias -= first_weight.sum((1, 2, 3)) * MIDDLE
    last_weight *= SPREAD
    last_bias.mul_(SPREAD).add_(MIDDLE)
    return vae
