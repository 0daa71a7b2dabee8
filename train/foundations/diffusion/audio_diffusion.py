"""The audio decoder's diffusion: captions to mel latents, a UNet2DConditionModel told by a small CLAP text tower.

    nextgpt-lite train train/recipes/audio_diffusion.yaml

The UNet learns on latents of a pool of sounds encoded once; the text tower stays as ``text_encoders`` trained it.
What is exported completes the folder that diffusers' ``AudioLDMPipeline.from_pretrained`` reads.
Letters: B sounds, C latent channels, T and M latent frames and bands, L tokens, D width of the condition.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AudioLDMPipeline, AutoencoderKL, UNet2DConditionModel
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import ClapTextConfig, ClapTextModelWithProjection, RobertaTokenizer, SpeechT5HifiGan

from decoders.audio import AudioDecoder, deprecation_note_hidden, encode_mel
from decoders.diffusion import flow_loss, flow_scheduler
from decoders.mel import log_mel
from train.foundations.audio_clips import (
    HELD_OUT_SEED,
    cached_pool,
    fingerprint,
    load_vae,
    sounds_of,
    waveform_chunks,
)
from train.foundations.pools import write_component
from train.recipe import RecipeError
from train.task import Task
from train.worlds import MediaStream, open_world


class AudioDiffusionTask(Task):
    """Flow matching on pooled latents, captions with attributes left out at random."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; none = Toybox
        "seed": 13,  # stream of sounds
        "pool": 6144,  # sounds, encoded once; at most
        "attribute_share": 0.6,  # chance that a caption keeps an attribute; the thing is always kept
        "empty_share": 0.1,  # captions left empty, for classifier-free guidance
        "condition_noise": 0.02,  # standard deviation added to each value of the unit-length condition
        "channels": [64, 96, 112],  # width of each level of the UNet
        "attention": [False, False, False],  # levels that attend over their places; the middle always does
        "layers": 1,  # residual blocks a level
        "shift": 1.0,  # > 1 trains more at high noise
        "held_out": 64,  # sounds of evaluate()
        "cache": ".cache/audio",
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path):
        super().__init__(settings, model_dir)
        chosen = self.settings
        self.vae = load_vae(self.model_dir)
        self.world = open_world(chosen["data"])
        self.tokenizer = build_tokenizer(self.world.caption_words)
        stream = sounds_of(self.world, chosen["seed"])
        latents = self._latents(stream, chosen["pool"])  # (pool, C, T, M)
        text_encoder = load_text_encoder(self.model_dir)
        check_vocabulary(self.tokenizer, text_encoder)
        width = text_encoder.config.projection_dim
        unet = build_unet(latents[0], chosen["channels"], chosen["attention"], chosen["layers"], width)
        self.model = CaptionedFlow(unet, text_encoder, chosen["condition_noise"], chosen["shift"])
        self.dataset = CaptionedLatents(latents, stream, chosen)

    def _latents(self, stream: MediaStream, wanted: int) -> torch.Tensor:
        count = min(wanted, len(stream))
        path = Path(self.settings["cache"]) / f"latents-{count}-{fingerprint(stream, count, vae=self.vae)}.safetensors"
        return cached_pool(path, lambda: encode_pool(stream, count, self.vae))["latents"]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"unet": list(self.model.unet.parameters())}

    def collate(self, items: list[tuple[torch.Tensor, str]]) -> dict[str, torch.Tensor]:
        """{"latents": (B, C, T, M), "input_ids": (B, L), "attention_mask": (B, L)}."""
        latents, captions = zip(*items, strict=True)
        tokens = self.tokenizer(list(captions), padding=True, return_tensors="pt")
        return {
            "latents": torch.stack(latents).float(),
            "input_ids": tokens.input_ids,
            "attention_mask": tokens.attention_mask,
        }

    def export(self, model_dir: Path) -> None:
        """``audio_decoder``: the whole pipeline, fp16, around the autoencoder and vocoder that are there."""
        folder = model_dir / "audio_decoder"
        pipeline = self._pipeline(folder)
        for component in (pipeline.vae, pipeline.unet, pipeline.text_encoder, pipeline.vocoder):
            component.half()
        write_component(folder, pipeline.save_pretrained)

    def _pipeline(self, folder: Path) -> AudioLDMPipeline:
        """The pipeline of copies of what is trained here and of the vocoder in ``folder``."""
        with deprecation_note_hidden():
            return AudioLDMPipeline(
                vae=copy.deepcopy(self.vae),
                text_encoder=copy.deepcopy(self.model.text_encoder).eval(),
                tokenizer=self.tokenizer,
                unet=copy.deepcopy(self.model.unet).eval(),
                scheduler=flow_scheduler(self.settings["shift"]),
                vocoder=SpeechT5HifiGan.from_pretrained(folder / "vocoder", dtype=torch.float32),
            )

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On fresh sounds with full captions: the noise loss, and that of captions of other sounds for comparison."""
        stream = sounds_of(self.world, HELD_OUT_SEED, held_out=True)
        latents = self._latents(stream, self.settings["held_out"]).float()
        captions = [stream.caption(index) for index in range(len(latents))]
        decoder = AudioDecoder(self._pipeline(self.model_dir / "audio_decoder"))
        figures = {}
        for name, told in (("noise_loss", captions), ("noise_loss_misled", captions[1:] + captions[:1])):
            torch.manual_seed(HELD_OUT_SEED)
            condition = decoder.encode_caption(told)
            figures[name] = float(np.mean([decoder.noise_loss(latents, condition).item() for _ in range(4)]))
        return figures


class CaptionedLatents(Dataset):
    """Item i is the latents (C, T, M) of a pooled sound and a caption of it, some attributes left out."""

    def __init__(self, latents: torch.Tensor, stream: MediaStream, settings: dict[str, Any], length: int = 1_000_000):
        self.latents, self.stream, self.settings, self.length = latents, stream, settings, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        rng = np.random.default_rng((self.settings["seed"], index))
        row = index % len(self.latents)
        if rng.random() < self.settings["empty_share"]:
            return self.latents[row], ""
        return self.latents[row], some_of_caption(self.stream, row, rng, self.settings["attribute_share"])


class CaptionedFlow(nn.Module):
    """The UNet, told by a frozen text encoder, under the flow-matching loss."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: ClapTextModelWithProjection,
        condition_noise: float = 0.0,
        shift: float = 1.0,
    ):
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder.requires_grad_(False)
        self.condition_noise, self.shift = condition_noise, shift

    def forward(
        self, latents: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Loss of latents (B, C, T, M) told by captions (B, L)."""
        pooled = self.text_encoder(input_ids, attention_mask=attention_mask).text_embeds.float()  # (B, D)
        pooled = functional.normalize(pooled, dim=-1)
        # Noise on the condition: an output projection comes near a caption's embedding, never onto it.
        pooled = functional.normalize(pooled + self.condition_noise * torch.randn_like(pooled), dim=-1)

        def predict(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            return self.unet(noisy, timestep, encoder_hidden_states=None, class_labels=pooled).sample

        return {"loss": flow_loss(predict, latents, self.shift)}


def some_of_caption(stream: MediaStream, index: int, rng: np.random.Generator, share: float) -> str:
    """The caption of item ``index``; of the attributes that it is made from, each but the thing is kept by chance."""
    return stream.caption(index, lambda known: {k: v for k, v in known.items() if k == "thing" or rng.random() < share})


def check_vocabulary(tokenizer: RobertaTokenizer, text_encoder: ClapTextModelWithProjection) -> None:
    """RecipeError for a text encoder that was trained on captions of other words."""
    known, expected = text_encoder.config.vocab_size, len(tokenizer)
    if known != expected:
        raise RecipeError(
            f"the text encoder knows {known} tokens, the captions of the data are of {expected}: train it on them"
        )


def build_tokenizer(words: tuple[str, ...]) -> RobertaTokenizer:
    """A byte-level BPE in which each of ``words`` is one token (a hyphenated one, one token a part)."""
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = ByteLevel(add_prefix_space=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # the first three as ClapTextConfig numbers them
    trainer = BpeTrainer(
        vocab_size=2048, special_tokens=special, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    trained.train_from_iterator(words, trainer)
    bpe = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in bpe["merges"]]
    return RobertaTokenizer(vocab=bpe["vocab"], merges=merges, add_prefix_space=True, model_max_length=32)


def build_text_encoder(vocabulary: int, width: int, layers: int) -> ClapTextModelWithProjection:
    """An untrained CLAP text tower; its embeddings are as wide as its layers."""
    config = ClapTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=64,
        projection_dim=width,
    )
    return ClapTextModelWithProjection(config)


def load_text_encoder(model_dir: Path) -> ClapTextModelWithProjection:
    """The trained CLAP text tower of the model folder, frozen, in full precision."""
    folder = model_dir / "text_encoders" / "clap"
    if not (folder / "config.json").is_file():
        raise ValueError(f"no text encoder in {folder}: train the recipe text_encoders first")
    text_encoder = ClapTextModelWithProjection.from_pretrained(folder, dtype=torch.float32)
    return text_encoder.eval().requires_grad_(False)


def build_unet(
    latents: torch.Tensor, channels: list[int], attention: list[bool], layers: int, condition_width: int
) -> UNet2DConditionModel:
    """An untrained AudioLDM-shaped UNet for ``latents`` (C, T, M); the condition joins the time embedding.

    As in AudioLDM nothing is attended to but the latents themselves: where no hidden states of a text are given,
    diffusers' cross-attention is a second self-attention, so its width is that of the level.
    """
    unet = UNet2DConditionModel(
        sample_size=latents.shape[1],
        in_channels=latents.shape[0],
        out_channels=latents.shape[0],
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        down_block_types=tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention)),
        cross_attention_dim=tuple(channels),
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=16,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=condition_width,
        class_embeddings_concat=True,
    )
    with torch.no_grad():  # the values of a unit vector are small: bring what is made of them to unit size
        unet.class_embedding.weight *= condition_width**0.5
    return unet


@torch.no_grad()
def encode_pool(stream: MediaStream, count: int, vae: AutoencoderKL) -> dict[str, torch.Tensor]:
    """{"latents": (count, C, T, M) fp16} of the first ``count`` sounds of a stream."""
    return {"latents": torch.cat([encode_mel(vae, log_mel(w)).half() for w in waveform_chunks(stream, count)])}
