"""The text encoders of the decoders, alone or within whole decoders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import ClapTextModelWithProjection, CLIPTextModel, CLIPTokenizer, RobertaTokenizer

from data.modalities import MODALITIES
from decoders import load_decoder
from decoders.audio import encode_pooled
from decoders.diffusion import encode_text


class ClipCaptions:
    """Conditions of the image and video decoders: all hidden states of a CLIPTextModel."""

    def __init__(self, folder: Path) -> None:
        self.encoder = CLIPTextModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "clip_tokenizer")
        config = self.encoder.config
        self.condition_shape = (config.max_position_embeddings, config.hidden_size)

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, L, C) of captions."""
        return encode_text(self.tokenizer, self.encoder, captions)


class ClapCaptions:
    """Conditions of the audio decoder: the pooled unit embedding of a CLAP text tower."""

    def __init__(self, folder: Path) -> None:
        self.encoder = ClapTextModelWithProjection.from_pretrained(folder / "clap", dtype=torch.float32).eval()
        self.tokenizer = RobertaTokenizer.from_pretrained(folder / "clap_tokenizer")
        self.condition_shape = (1, self.encoder.config.projection_dim)

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, 1, C) of captions."""
        return encode_pooled(self.tokenizer, self.encoder, captions)


def caption_encoders(model_dir: Path, modalities: Iterable[str] | None = None) -> dict[str, Any]:
    """By modality (None = all) from ``text_encoders/`` while decoders are still in training, else from the decoders."""
    folder = model_dir / "text_encoders"
    if not folder.is_dir():
        return whole_decoders(model_dir, modalities)
    clip = ClipCaptions(folder)
    found = {"image": clip, "video": clip, "audio": ClapCaptions(folder)}
    return {modality: found[modality] for modality in (found if modalities is None else modalities)}


def whole_decoders(model_dir: Path, modalities: Iterable[str] | None = None) -> dict[str, Any]:
    """The decoders themselves, for their noise loss; by modality, None = all. ValueError for one that is missing."""
    there = {path.name.removesuffix("_decoder") for path in model_dir.glob("*_decoder")}
    wanted = [modality for modality in MODALITIES if modality in there] if modalities is None else modalities
    return {modality: load_decoder(model_dir / f"{modality}_decoder") for modality in wanted}
