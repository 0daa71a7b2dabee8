"""Captions for the picture and film decoders: their tokenizer, their text encoder, and what a caption leaves out."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import AddedToken
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from data.toybox.language.grammar import TAG_WORDS
from train.worlds.base import MediaStream

START, END = "<|startoftext|>", "<|endoftext|>"


def random_caption(stream: MediaStream, index: int, rng: np.random.Generator, settings: dict[str, Any]) -> str:
    """A caption of item ``index`` that leaves attributes out, since a dialogue names only some of them.

    The thing is always named, unless the caption is empty: the decoder's unconditional input.
    """
    kind = rng.random() - settings["empty_share"]
    if kind < 0:
        return ""
    if kind < settings["full_share"]:
        return stream.caption(index)
    kind -= settings["full_share"]
    if kind < settings["pair_share"]:
        return stream.caption(index, lambda known: {name: known[name] for name in ("thing", "colour")})
    if kind < settings["pair_share"] + settings["alone_share"]:
        return stream.caption(index, lambda known: {"thing": known["thing"]})

    def some(known: dict[str, Any]) -> dict[str, Any]:
        return {n: v for n, v in known.items() if n == "thing" or rng.random() < settings["attribute_share"]}

    return stream.caption(index, some)


def build_tokenizer(max_length: int, words: Sequence[str] = TAG_WORDS) -> CLIPTokenizer:
    """A CLIPTokenizer for which each of ``words`` is one token; others are spelt in letters."""
    letters = string.ascii_lowercase + string.digits + "-"
    symbols = [START, END, *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[])
    tokenizer.add_tokens([AddedToken(tag, single_word=True) for tag in words])
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
