"""The decoders' tokenizers and text encoders: CLIP for images and videos, CLAP for audio. Built small, or loaded."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    AddedToken,
    ClapTextConfig,
    ClapTextModelWithProjection,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    RobertaTokenizer,
)

from train.foundations.components import frozen, load_component
from train.settings import RecipeError

START, END = "<|startoftext|>", "<|endoftext|>"
FOLDER = "text_encoders"


def build_clip_tokenizer(max_length: int, words: Sequence[str]) -> CLIPTokenizer:
    """A CLIPTokenizer for which each of ``words`` is one token; others are spelt in letters."""
    letters = string.ascii_lowercase + string.digits + "-"
    symbols = [START, END, *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[])
    added: list[str | AddedToken] = [AddedToken(tag, single_word=True) for tag in words]
    tokenizer.add_tokens(added)
    tokenizer.model_max_length = max_length
    return tokenizer


def build_clip(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextModel:
    """An untrained CLIPTextModel for the tokenizer, with heads of 32."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=tokenizer.model_max_length,
        **{f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")},
    )
    return CLIPTextModel(config)


def build_clap_tokenizer(words: Sequence[str]) -> RobertaTokenizer:
    """A byte-level BPE in which each of ``words`` is one token (a hyphenated one, one token a part)."""
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = ByteLevel(add_prefix_space=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # the first three as ClapTextConfig numbers them
    trainer = BpeTrainer(
        vocab_size=2048, special_tokens=special, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    trained.train_from_iterator(words, trainer)
    bpe = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(merge) for merge in bpe["merges"]]
    return RobertaTokenizer(vocab=bpe["vocab"], merges=merges, add_prefix_space=True, model_max_length=32)


def build_clap(vocabulary: int, width: int, layers: int) -> ClapTextModelWithProjection:
    """An untrained CLAP text encoder; its embeddings are as wide as its layers."""
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


def load_clip(model_dir: Path) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Tokenizer and trained text encoder of the image and video decoders, frozen. ValueError where there is none."""
    folder = Path(model_dir) / FOLDER
    text_encoder = load_component(CLIPTextModel, folder / "clip", "text encoder", "text_encoders")
    return CLIPTokenizer.from_pretrained(folder / "clip_tokenizer"), frozen(text_encoder)


def load_clap(model_dir: Path, words: Sequence[str]) -> tuple[RobertaTokenizer, ClapTextModelWithProjection]:
    """Tokenizer of ``words`` and trained text encoder of the audio decoder, frozen. ValueError where there is none.

    RecipeError where it was trained on captions of other words.
    """
    folder, tokenizer = Path(model_dir) / FOLDER / "clap", build_clap_tokenizer(words)
    text_encoder = load_component(ClapTextModelWithProjection, folder, "text encoder", "text_encoders")
    known = text_encoder.config.vocab_size
    if known != len(tokenizer):
        raise RecipeError(
            f"the text encoder in {folder} knows {known} tokens, the captions of the data are of {len(tokenizer)}: "
            "train it on them"
        )
    return tokenizer, frozen(text_encoder)
