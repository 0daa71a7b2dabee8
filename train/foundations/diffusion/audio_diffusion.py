"""The audio decoder's diffusion: captions to mel latents, conditioned by a small CLAP text encoder.

The text encoder stays as ``text_encoders`` trained it. What is exported completes the folder that diffusers'
``AudioLDMPipeline.from_pretrained`` reads.
Shapes: B clips, C latent channels, T and M latent frames and bands, L tokens, D width of the condition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.audioldm.pipeline_audioldm import AudioLDMPipeline
from torch.nn import functional
from transformers import SpeechT5HifiGan

from decoders.audio import deprecation_note_hidden
from decoders.diffusion import flow_scheduler
from train.foundations.components import half_copy
from train.foundations.diffusion.captioned_flow import CaptionedFlow, DiffusionSettings, DiffusionTask, build_unet
from train.foundations.language.text_encoders import load_clap
from train.foundations.pools import AUDIO_HELD_OUT_SEED, AudioPool
from train.settings import setting


class AudioDiffusionTask(DiffusionTask):
    """Trains an AudioLDM-shaped UNet; exports ``audio_decoder``, with the VAE and the vocoder that are there."""

    @dataclass(frozen=True)
    class Settings(DiffusionSettings):
        seed: int = setting(13, low=0, help="of the stream of clips, and of their captions")
        condition_noise: float = setting(0.02, low=0, help="deviation of the noise on each value of the unit condition")
        channels: tuple[int, ...] = setting((64, 96, 112), low=1, help="width of each level of the UNet")
        attention: tuple[bool, ...] = setting((False, False, False), help="which levels attend; the middle always does")
        layers: int = setting(1, low=1, help="residual blocks of a level")
        cache_dir: str = setting(".cache/audio", alias="cache")

        def __post_init__(self) -> None:
            if len(self.attention) != len(self.channels):
                raise ValueError(f"attention must have one value for each of channels, not {list(self.attention)}")

    settings: Settings
    modality: ClassVar[str] = "audio"
    pipeline_class = AudioLDMPipeline
    pool_class = AudioPool
    held_out_seed = AUDIO_HELD_OUT_SEED
    epoch_length = 1_000_000

    def load_text_encoder(self) -> tuple[Any, Any]:
        return load_clap(self.model_dir, self.world.caption_words)

    def tokenize(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        tokens = self.tokenizer(list(captions), padding=True, return_tensors="pt")
        return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}

    def build_flow(self, latents: torch.Tensor, text_encoder: Any) -> CaptionedFlow:
        chosen = self.settings
        width = text_encoder.config.projection_dim
        unet = build_audio_unet(latents[0], chosen.channels, chosen.attention, chosen.layers, width)
        return AudioFlow(unet, text_encoder, chosen.condition_noise, chosen.shift)

    def pipeline_parts(self, model_dir: Path) -> dict[str, Any]:
        vocoder = SpeechT5HifiGan.from_pretrained(model_dir / "audio_decoder" / "vocoder", dtype=torch.float32)
        return {"scheduler": flow_scheduler(self.settings.shift), "vocoder": half_copy(vocoder)}

    def export(self, model_dir: Path) -> None:
        with deprecation_note_hidden():
            super().export(model_dir)


class AudioFlow(CaptionedFlow):
    """The flow-matching loss for audio: the condition is one pooled embedding of unit length, (B, D)."""

    @torch.no_grad()
    def condition(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        pooled = self.text_encoder(input_ids, attention_mask=attention_mask).text_embeds.float()
        return functional.normalize(pooled, dim=-1)

    def noisy(self, condition: torch.Tensor) -> torch.Tensor:
        return functional.normalize(super().noisy(condition), dim=-1)

    def velocity(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.unet(noisy, timestep, encoder_hidden_states=None, class_labels=condition).sample


def build_audio_unet(
    latents: torch.Tensor,
    channels: Sequence[int],
    attention: Sequence[bool],
    layers: int,
    condition_width: int,
    **options: Any,
) -> UNet2DConditionModel:
    """An untrained AudioLDM-shaped UNet for ``latents`` (C, T, M); the condition joins the time embedding.

    As in AudioLDM nothing is attended to but the latents themselves: where no hidden states of a text are given,
    diffusers' cross-attention is a second self-attention, so its width is that of the level.
    """
    blocks = {"layers_per_block": layers, "norm_num_groups": 16, "cross_attention_dim": tuple(channels)} | options
    joined = {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": condition_width}
    unet = build_unet(latents, channels, attention, heads=4, class_embeddings_concat=True, **blocks, **joined)
    embedding: Any = unet.class_embedding
    with torch.no_grad():  # the values of a unit vector are small: scale what is made of them to unit size
        embedding.weight *= condition_width**0.5
    return unet
