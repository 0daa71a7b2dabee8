"""Captions for the picture and film decoders: their tokenizer, their text encoder, and what a caption leaves out."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from tokenizers import AddedToken
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from data.toybox.grammar import TAG_WORDS, tag_caption
from data.toybox.world import Scene, visible

START, END = "<|startoftext|>", "<|endoftext|>"


def random_caption(scene: Scene, modality: str, rng: np.random.Generator, settings: dict[str, Any]) -> str:
    """A tag caption of ``scene`` that leaves attributes out, since a dialogue names only some of them.

    The thing is always named, unless the caption is empty: the decoder's unconditional input.
    """
    attributes = visible(scene, modality)
    kind = rng.random()
    if kind < settings["empty_share"]:
        return ""
    if kind < settings["empty_share"] + settings["full_share"]:
        return tag_caption(attributes)
    if kind < settings["empty_share"] + settings["full_share"] + settings["pair_share"]:
        return tag_caption({name: attributes[name] for name in ("thing", "colour")})
    kept = {n: v for n, v in attributes.items() if n == "thing" or rng.random() < settings["attribute_share"]}
    return tag_caption(kept)


def build_tokenizer(max_length: int) -> CLIPTokenizer:
    """A CLIPTokenizer for which every tag is one token; other words are spelt in letters."""
    letters = string.ascii_lowercase + string.digits + "-"
    symbols = [START, END, *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[])
    tokenizer.add_tokens([AddedToken(tag, single_word=True) for tag in TAG_WORDS])
    tokenizer.model_max_length = max_length
    return tokenizer


def build_text_encoder(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextModel:
    """A small CLIPTextModel for the tokenizer, with heads of 32."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
