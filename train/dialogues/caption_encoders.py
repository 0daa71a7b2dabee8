"""What a decoder's text encoder says of a caption, without the rest of the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import ClapTextModelWithProjection, CLIPTextModel, CLIPTokenizer, RobertaTokenizer

from decoders import DECODERS
from decoders.audio import encode_pooled
from decoders.diffusion import encode_text
from nextgpt_lite.signal_tokens import OUTPUT_MODALITIES


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


def caption_encoders(model_dir: Path) -> dict[str, Any]:
    """One a modality: from ``text_encoders/`` while decoders are still in training, else from the decoders."""
    folder = model_dir / "text_encoders"
    if folder.is_dir():
        clip = ClipCaptions(folder)
        return {"image": clip, "video": clip, "audio": ClapCaptions(folder)}
    return whole_decoders(model_dir)


def whole_decoders(model_dir: Path) -> dict[str, Any]:
    """The decoders themselves, for their noise loss; a ValueError names the one that is missing."""
    return {m: DECODERS[m].from_pretrained(model_dir / f"{m}_decoder") for m in OUTPUT_MODALITIES}
