"""A byte-level tokenizer and a small Llama, trained on the text of conversations alone.

Media are read as bracketed words here; the stages later put gated prompts in their place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from nextgpt_lite.conversation import CHAT_TEMPLATE
from nextgpt_lite.model import language_loss
from train.dialogues.bins import BinnedRows
from train.dialogues.collate import pad_rows
from train.foundations.components import write_component
from train.foundations.pools import DataSettings
from train.settings import setting
from train.task import Task
from train.worlds import ToyboxWorld, World, open_world

SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")


class LanguageModelTask(Task):
    """Trains tokenizer and language model; exports ``tokenizer/`` and ``language_model/``."""

    @dataclass(frozen=True)
    class Settings(DataSettings):
        seed: int = setting(11, low=0, help="of the dialogues")
        dialogues: int = setting(40_000, low=1, help="at most")
        vocabulary: int = setting(1500, low=len(SPECIAL) + 256, help="tokens")
        vocabulary_texts: int = setting(4000, low=1, help="conversations that the tokenizer is trained on")
        hidden_size: int = setting(192, low=2)
        layers: int = setting(6, low=1)
        heads: int = setting(6, low=1)
        intermediate_size: int = setting(512, low=1)
        positions: int = setting(1024, low=1, help="greatest length of a row, in tokens")
        tokens_per_bin: int = setting(2048, low=1, help="of a batch, padding included")
        user_weight: float = setting(0.2, low=0, help="of user tokens in the loss; assistant tokens count 1")

    settings: Settings
    model: "TextModel"
    part = "language_model"

    def build(self) -> None:
        chosen = self.settings
        self.world = open_world(chosen.data)
        self.tokenizer = train_tokenizer(chosen.vocabulary, chosen.vocabulary_texts, self.world)
        rows = [self._row(i, chosen.seed) for i in range(min(chosen.dialogues, self.world.conversations()))]
        self.dataset: Dataset = BinnedRows(rows, chosen.tokens_per_bin, chosen.seed, length=lambda row: len(row[0]))
        sizes = (chosen.hidden_size, chosen.layers, chosen.heads, chosen.intermediate_size, chosen.positions)
        self.model = TextModel(small_llama(len(self.tokenizer), *sizes))

    def collate(self, items: list[list[tuple[list[int], list[float]]]]) -> dict[str, torch.Tensor]:
        """Right-padded {"input_ids", "weights": (B, T)}."""
        rows = [row for item in items for row in item]
        ids, weights = pad_rows([ids for ids, _ in rows], 0), pad_rows([weights for _, weights in rows], 0.0)
        return {"input_ids": ids, "weights": weights}

    def denominators(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"loss": batch["weights"][:, 1:].sum()}

    def export(self, model_dir: Path) -> None:
        export_language_model(self.tokenizer, self.model.language_model, model_dir)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Assistant-token loss and accuracy, and share of dialogues predicted wholly, on unseen dialogues."""
        count = min(256, self.world.conversations(held_out=True))
        rows = [self._row(i, self.settings.seed + 500, held_out=True) for i in range(count)]
        hits, tokens, whole, loss = 0, 0, 0, 0.0
        for start in range(0, len(rows), 32):
            batch = self.collate([rows[start : start + 32]])
            logits = self.model.language_model(batch["input_ids"]).logits
            counted = batch["weights"][:, 1:] == 1.0
            right = (logits[:, :-1].argmax(-1) == batch["input_ids"][:, 1:]) & counted
            hits, tokens = hits + int(right.sum()), tokens + int(counted.sum())
            whole += int((right.sum(1) == counted.sum(1)).sum())
            labels = batch["input_ids"].masked_fill(batch["weights"] < 1.0, -100)
            loss += float(language_loss(logits, labels)) * len(labels)
        return {"loss": loss / len(rows), "token_accuracy": hits / tokens, "whole_dialogues_right": whole / len(rows)}

    def _row(self, index: int, seed: int, held_out: bool = False) -> tuple[list[int], list[float]]:
        """One dialogue as ids and loss weights."""
        messages = self.world.conversation(seed, index, held_out)
        encoded: Any = self.tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        user_weight = self.settings.user_weight
        return encoded["input_ids"], [1.0 if mask else user_weight for mask in encoded["assistant_masks"]]


class TextModel(nn.Module):
    """A causal language model with a weight for each token of the loss."""

    def __init__(self, language_model: LlamaForCausalLM) -> None:
        super().__init__()
        self.language_model = language_model

    def forward(self, input_ids: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Right-padded ids and weights, both (B, T). Causal attention needs no mask for padding on the right."""
        logits = self.language_model(input_ids).logits[:, :-1]
        targets, weights = input_ids[:, 1:], weights[:, 1:]
        losses = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        loss = (losses * weights.flatten()).sum() / weights.sum()
        assistant = weights.flatten() == 1.0
        return {"loss": loss, "assistant_loss": losses[assistant].mean().detach()}


def export_language_model(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, model_dir: Path) -> None:
    """Write ``tokenizer/`` and, in half precision, ``language_model/``. ``model`` is left with the rounded weights."""
    write_component(tokenizer, Path(model_dir) / "tokenizer")
    write_component(model.half(), Path(model_dir) / "language_model")
    model.float()


def small_llama(
    vocabulary: int, hidden_size: int, layers: int, heads: int, intermediate_size: int, positions: int
) -> LlamaForCausalLM:
    """A Llama of the given sizes with tied embeddings."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        **{"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1},
    )
    return LlamaForCausalLM(config)


def train_tokenizer(vocabulary: int, texts: int, world: World | None = None) -> PreTrainedTokenizerFast:
    """A byte-level BPE on ``texts`` conversations of a world (none = Toybox): other text is read byte by byte."""
    tokenizer = byte_level_bpe((world or ToyboxWorld()).corpus(texts), vocabulary)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def byte_level_bpe(corpus: Iterable[str], vocabulary: int, digits_alone: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE of ``vocabulary`` tokens on ``corpus``; ``digits_alone`` makes every digit a token."""
    tokenizer = Tokenizer(models.BPE())
    of_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, of_bytes]) if digits_alone else of_bytes
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    pad, end, _, _ = SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=end, padding_side="left")
