"""Audio from conditions: pipelines of AudioLDM, AudioLDM 2 and Stable Audio.

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
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.pipelines.deprecated.audioldm.pipeline_audioldm import AudioLDMPipeline
from torch.nn import functional

from data.resampling import resample
from decoders.base import Decoder, DecoderSettings, encode_latents, notes_hidden, to_uint8
from decoders.mel import FLOOR, GriffinLimVocoder, log_mel
from decoders.prompted import PromptedDecoder, call_defaults, padding_mask

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
        return fit_sound(medium, rate, self.rate, samples)

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, T / 8, M / 8) of float32 waveforms (N,) at the decoder's rate."""
        waveform = torch.from_numpy(np.stack(list(media))).to(self.device)
        return encode_mel(self.pipeline.vae, log_mel(waveform))


class AudioLdm2Decoder(AudioDecoder):
    """An AudioLDM2Pipeline: the states that its GPT-2 has continued CLAP's and T5's with, then T5's own.

    The narrower of both are followed by zeros.
    """

    pipeline_class = "AudioLDM2Pipeline"
    #: T5's tokens of a caption; others are cut off.
    usual_tokens = 64

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        usual = call_defaults(pipeline)
        self.default_steps, self.default_guidance = usual["num_inference_steps"], usual["guidance_scale"]
        super().__init__(pipeline, settings)
        self.tokens: int = self.settings.tokens or self.usual_tokens
        self.generated: int = pipeline.language_model.config.max_new_tokens
        self.widths = pipeline.language_model.config.n_embd, pipeline.text_encoder_2.config.d_model

    @property
    def condition_shape(self) -> tuple[int, int]:
        return self.generated + self.tokens, max(self.widths)

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        states, mask, generated = self.pipeline.encode_prompt(list(captions), self.device, 1, False)
        states = (states * mask[..., None])[:, : self.tokens]
        states = functional.pad(states, (0, max(self.widths) - self.widths[1], 0, self.tokens - states.shape[1]))
        return torch.cat([functional.pad(generated, (0, max(self.widths) - self.widths[0])), states], dim=1)

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        own = {"audio_length_in_s": self.settings.seconds} if self.settings.seconds else {}
        for prefix, given in (("", condition), ("negative_", unconditional)):
            generated, states = self._parts(given)
            own |= {f"{prefix}prompt_embeds": states, f"{prefix}attention_mask": padding_mask(states)}
            own |= {f"{prefix}generated_prompt_embeds": generated}
        return own

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        generated, states = self._parts(condition)
        return self.network(
            noisy,
            timestep,
            encoder_hidden_states=generated,
            encoder_hidden_states_1=states,
            encoder_attention_mask_1=padding_mask(states),
        ).sample

    def _parts(self, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Conditions (B, L, D) -> generated states, T5's states."""
        generated, states = condition[:, : self.generated], condition[:, self.generated :]
        return generated[..., : self.widths[0]], states[..., : self.widths[1]]


class StableAudioDecoder(PromptedDecoder):
    """A StableAudioPipeline: T5's states. Without a caption its network is given zeros."""

    modality = "audio"
    pipeline_class = "StableAudioPipeline"
    negative = False

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        self.tokens = pipeline.tokenizer.model_max_length
        longest = self.network.config.sample_size * pipeline.vae.hop_length / self.rate
        self.seconds = self.settings.seconds or longest
        if self.seconds > longest:
            raise ValueError(f"decoder.json: seconds must be at most {longest:g}, not {self.seconds:g}")

    @property
    def condition_shape(self) -> tuple[int, int]:
        return self.tokens, self.pipeline.text_encoder.config.d_model

    @property
    def rate(self) -> float:
        return float(self.pipeline.vae.config.sampling_rate)

    def encode(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor, None]:
        given = self.pipeline.tokenizer(
            captions, padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        ).to(self.device)
        states = self.text_encoder(given.input_ids, attention_mask=given.attention_mask)[0]
        return states, given.attention_mask, None

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        own = {"prompt_embeds": condition, "attention_mask": padding_mask(condition)}
        return own | {"audio_end_in_s": self.seconds}

    def to_media(self, made: np.ndarray) -> np.ndarray:
        """Channels (B, C, N) as one (B, N) in [-1, 1]."""
        mono = np.asarray(made, dtype=np.float32).mean(axis=1)
        return mono / np.maximum(np.abs(mono).max(axis=-1, keepdims=True), 1.0)

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        pipeline, count = self.pipeline, len(noisy)
        mask = padding_mask(condition)[..., None].to(condition)
        states = pipeline.projection_model(text_hidden_states=condition).text_hidden_states * mask
        start, end = pipeline.encode_duration(0.0, self.seconds, self.device, False, count)
        rotary = get_1d_rotary_pos_embed(
            pipeline.rotary_embed_dim, noisy.shape[2] + 1, use_real=True, repeat_interleave_real=False
        )
        return self.network(
            noisy,
            timestep,
            encoder_hidden_states=torch.cat([states, start, end], dim=1),
            global_hidden_states=torch.cat([start, end], dim=2),
            rotary_embedding=rotary,
        ).sample

    def preview(self, number: int = 0) -> None:
        """None: its latents are no spectrogram."""

    def resize(self, medium: np.ndarray, rate: float | None) -> np.ndarray:
        """float32 (N,) at ``rate`` hertz, resampled, and cut or followed by silence to what the network makes."""
        return fit_sound(medium, rate, self.rate, self.network.config.sample_size * self.pipeline.vae.hop_length)

    @torch.no_grad()
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Latents (B, C, n) of float32 waveforms (N,), the same in each channel."""
        waves = torch.from_numpy(np.stack(list(media)))[:, None]  # (B, 1, N)
        return encode_latents(self.pipeline.vae, waves.expand(-1, self.pipeline.vae.config.audio_channels, -1))


def fit_sound(medium: np.ndarray, rate: float | None, own: float, samples: int) -> np.ndarray:
    """float32 (N,) at ``rate`` hertz -> (``samples``,) at ``own`` hertz: resampled, and cut or followed by silence."""
    if rate is not None and int(rate) != int(own):
        medium = resample(torch.from_numpy(medium)[None], int(rate), int(own))[0].numpy()
    return np.pad(medium[:samples], (0, max(0, samples - len(medium)))).astype(np.float32)


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
