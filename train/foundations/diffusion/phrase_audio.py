"""The audio decoder that follows phrases (decoders.phrase_audio), trained by flow matching on latents of the audio VAE.

Shapes: B sounds, L phrases, E their width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.atomic import atomic_folder, write_json
from data.parts import part_folder
from decoders.audio import deprecation_note_hidden
from decoders.base import SETTINGS
from decoders.phrase_audio import class_label
from decoders.phrases import SLOTS, embed_captions
from encoders.sentence_encoder import Remembered, SentenceEncoder
from train.foundations.components import half_copy
from train.foundations.diffusion.audio_diffusion import AudioDiffusionTask, build_audio_unet
from train.foundations.diffusion.captioned_flow import CaptionedFlow
from train.settings import setting


class PhraseAudioTask(AudioDiffusionTask):
    """Trains the UNet of a PhraseAudioDecoder; exports ``audio_decoder``, with the VAE and the vocoder there."""

    @dataclass(frozen=True)
    class Settings(AudioDiffusionTask.Settings):
        data: Any = setting([{"things": True}], help="captions are free English")
        condition_noise: float = setting(0.02, low=0, help="deviation of the noise on each value of a phrase")

    def load_text_encoder(self) -> tuple[Any, Any]:
        return None, Remembered(SentenceEncoder.from_pretrained(part_folder("minilm")))

    def build_flow(self, latents: torch.Tensor, text_encoder: Any) -> CaptionedFlow:
        chosen, self.embed = self.settings, text_encoder
        width = SLOTS * text_encoder.encoder.width
        levels = chosen.channels, chosen.attention, chosen.layers
        unet = build_audio_unet(latents[0], *levels, width, resnet_time_scale_shift="scale_shift")
        return PhraseAudioFlow(unet, torch.nn.Identity(), chosen.condition_noise, chosen.shift)

    def tokenize(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"phrases": embed_captions(captions, self.embed)}

    def export(self, model_dir: Path) -> None:
        networks = {"vae": half_copy(self.vae), "unet": half_copy(self.flow.unet)}
        nothing = {"text_encoder": None, "tokenizer": None}
        with deprecation_note_hidden(), atomic_folder(Path(model_dir) / "audio_decoder") as folder:
            pipeline = self.pipeline_class(**networks, **nothing, **self.pipeline_parts(Path(model_dir)))
            pipeline.save_pretrained(folder)
            write_json(folder / SETTINGS, {"conditions": "phrases"})


class PhraseAudioFlow(CaptionedFlow):
    """The flow-matching loss for sounds; the condition is the phrases of a caption, (B, L, E)."""

    def condition(self, phrases: torch.Tensor) -> torch.Tensor:
        return phrases

    def velocity(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        label = class_label(condition)
        return self.unet(noisy, timestep, encoder_hidden_states=None, class_labels=label).sample
