"""Audio from conditions: an AudioLDMPipeline.

Shapes: B waveforms, N samples, T mel frames, M mel bands, C latent channels, D width of the condition.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.deprecated.audioldm.pipeline_audioldm import AudioLDMPipeline
from torch.nn import functional

from data.resampling import resample
from decoders.base import Decoder, DecoderSettings, encode_latents, notes_hidden, to_uint8
from decoders.mel import FLOOR, GriffinLimVocoder, log_mel

#: Log-mel of digital silence: black in a preview.
LOG_FLOOR = math.log(FLOOR)


class AudioDecoder(Decoder):
    """An AudioLDMPipeline.

    Its condition is one pooled CLAP text embedding of unit length, so L is 1. Conditions of any other length are
    brought to unit length first: what an output projection gives is close to the sphere, not on it.

    A vocoder whose configuration says ``griffin_lim_rounds`` is replaced by that many rounds of Griffin-Lim.
    """

    modality = "audio"
    pipeline_class = AudioLDMPipeline
    default_guidance = 2.0

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None):
        super().__init__(pipeline, settings)
        rounds = getattr(pipeline.vocoder.config, "griffin_lim_rounds", 0)
        if rounds:
            pipeline.vocoder = GriffinLimVocoder(pipeline.vocoder, rounds)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        with deprecation_note_hidden():
            return super().from_pretrained(folder, dtype)

    @property
    def condition_shape(self) -> tuple[int, int]:
        return 1, self.pipeline.text_encoder.config.projection_dim

    @property
    def rate(self) -> float:
        """Samples a second, as the vocoder gives them."""
        return float(self.pipeline.vocoder.config.sampling_rate)

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        return encode_pooled(self.pipeline.tokenizer, self.pipeline.text_encoder, captions)

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        unit = functional.normalize(condition[:, 0], dim=-1)  # (B, D)
        return {"prompt_embeds": unit, "negative_prompt_embeds": unconditional[:, 0]}

    def to_media(self, made: np.ndarray) -> np.ndarray:
        """Waveforms (B, N) in [-1, 1]; what came out louder is made softer as a whole, not clipped."""
        return made / np.maximum(np.abs(made).max(axis=-1, keepdims=True), 1.0)

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        pooled = functional.normalize(condition[:, 0], dim=-1)  # (B, D)
        return self.network(noisy, timestep, encoder_hidden_states=None, class_labels=pooled).sample

    def draw_latents(self, latents: torch.Tensor) -> np.ndarray:
        """The log-mel spectrogram in greys, low bands below."""
        vae = self.pipeline.vae
        mel = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample[0, 0]  # (T, M)
        grey = to_uint8(((mel.float() - LOG_FLOOR) / -LOG_FLOOR).cpu())
        return np.repeat(np.flipud(grey.T)[:, :, None], 3, axis=2)

    def resize(self, medium: np.ndarray, rate: float | None) -> np.ndarray:
        """float32 (N,) at ``rate`` hertz, resampled, and cut or followed by silence to the decoder's length."""
        samples = self.size * int(np.prod(self.pipeline.vocoder.config.upsample_rates))
        if rate is not None and int(rate) != int(self.rate):
            medium = resample(torch.from_numpy(medium)[None], int(rate), int(self.rate))[0].numpy()
        return np.pad(medium[:samples], (0, max(0, samples - len(medium)))).astype(np.float32)

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, T / 8, M / 8) of float32 waveforms (N,) at the decoder's rate."""
        waveform = torch.from_numpy(np.stack(list(media))).to(self.device)
        return encode_mel(self.pipeline.vae, log_mel(waveform))


def encode_mel(vae: AutoencoderKL, mel: torch.Tensor) -> torch.Tensor:
    """Scaled latents (B, C, T / 8, M / 8) of log-mels (B, T, M)."""
    return encode_latents(vae, mel.unsqueeze(1))


def encode_pooled(tokenizer: Any, text_encoder: torch.nn.Module, captions: Sequence[str]) -> torch.Tensor:
    """CLAP text embeddings (B, 1, D) of captions, of unit length, as AudioLDM takes them."""
    tokens = tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt").to(text_encoder.device)
    pooled = text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds  # (B, D)
    return functional.normalize(pooled, dim=-1).unsqueeze(1)


def deprecation_note_hidden() -> AbstractContextManager[None]:
    """Keep diffusers' note that AudioLDMPipeline is deprecated, and only that note, out of the log."""
    return notes_hidden("AudioLDMPipeline has been deprecated")
