"""The text encoders of the decoders, alone or within whole decoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import ClapTextModelWithProjection, CLIPTextModel, CLIPTokenizer, RobertaTokenizer

from data.modalities import MODALITIES
from decoders import load_decoder
from decoders.audio import encode_pooled
from decoders.diffusion import encode_text


@dataclass(frozen=True)
class CaptionEncoder:
    """A decoder's text encoder; ``encode`` makes conditions (B, L, C) of captions, ``condition_shape`` is (L, C)."""

    encoder: Any
    tokenizer: Any
    encode: Callable[[Any, Any, Sequence[str]], torch.Tensor]
    condition_shape: tuple[int, int]

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, L, C) of captions."""
        return self.encode(self.tokenizer, self.encoder, captions)


def _clip(folder: Path) -> CaptionEncoder:
    """That of the image and video decoders: all hidden states."""
    encoder = CLIPTextModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "clip_tokenizer")
    shape = (encoder.config.max_position_embeddings, encoder.config.hidden_size)
    return CaptionEncoder(encoder, tokenizer, encode_text, shape)


def _clap(folder: Path) -> CaptionEncoder:
    """That of the audio decoder: the pooled embedding, of unit length."""
    encoder = ClapTextModelWithProjection.from_pretrained(folder / "clap", dtype=torch.float32).eval()
    tokenizer = RobertaTokenizer.from_pretrained(folder / "clap_tokenizer")
    return CaptionEncoder(encoder, tokenizer, encode_pooled, (1, encoder.config.projection_dim))


def caption_encoders(model_dir: Path, modalities: Iterable[str] | None = None) -> dict[str, Any]:
    """By modality (None = all) from ``text_encoders/`` while decoders are still in training, else from the decoders."""
    folder = model_dir / "text_encoders"
    if not folder.is_dir():
        return whole_decoders(model_dir, modalities)
    clip = _clip(folder)
    found = {"image": clip, "video": clip, "audio": _clap(folder)}
    return {modality: found[modality] for modality in (found if modalities is None else modalities)}


def whole_decoders(model_dir: Path, modalities: Iterable[str] | None = None) -> dict[str, Any]:
    """The decoders themselves, for their noise loss; by modality, None = all. ValueError for one that is missing."""
    there = {path.name.removesuffix("_decoder") for path in model_dir.glob("*_decoder")}
    wanted = [modality for modality in MODALITIES if modality in there] if modalities is None else modalities
    return {modality: load_decoder(model_dir / f"{modality}_decoder") for modality in wanted}
