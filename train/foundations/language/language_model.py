"""A byte-level tokenizer and a small Llama, trained on the text of conversations alone, or on plain text files.

In conversations media are read as bracketed words; the stages later put gated prompts in their place. Among text files
are passkey documents:

    nextgpt-lite train train/recipes/foundations/text_language_model.yaml task_settings.texts=FOLDER

Context extension starts from it where no pretrained model is at hand: it reads rows of ``length`` tokens and no longer
ones. Whole files are held out (:func:`data.texts.split_texts`) and named in ``texts.json``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from data.passkey import PasskeyWriter, draw_key
from data.texts import Text, TextsError, read_texts, split_texts, write_split
from nextgpt_lite.conversation import CHAT_TEMPLATE
from nextgpt_lite.long_context.streaming import tells_passkey
from nextgpt_lite.model import language_loss
from train.dialogues.bins import BinnedRows
from train.dialogues.collate import pad_rows
from train.foundations.components import write_component
from train.foundations.pools import DataSettings
from train.passkeys import PasskeyRows, RandomRows, TextsAndPasskeys, WithPasskeys, joined
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

    def writes(self) -> str:
        return "language_model"

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


class TextLanguageModelTask(Task):
    """Trains on a folder of texts; exports ``tokenizer/``, ``language_model/`` and ``texts.json``."""

    @dataclass(frozen=True)
    class Settings:
        seed: int = setting(61, low=0)
        texts: str = setting("", help="folder of UTF-8 .txt files")
        held_out: float = setting(0.1, above=0, below=1, help="share of the texts, in whole files, only evaluated on")
        vocabulary: int = setting(2048, low=len(SPECIAL) + 256, help="tokens")
        hidden_size: int = setting(256, low=2)
        layers: int = setting(6, low=1)
        heads: int = setting(4, low=1)
        intermediate_size: int = setting(688, low=1)
        length: int = setting(512, low=2, help="tokens of a row: the positions that the model knows")
        rows: int = setting(2, low=1, help="rows of text of an item")
        items: int = setting(4096, low=1, help="of a pass through the data")
        passkey_tokens: int = setting(1024, low=0, help="of an item; 0 = no passkey documents")
        passkey_short: float = setting(0.0, low=0, high=1, help="share of the items with short passkey documents")
        scored_rows: int = setting(16, low=1, help="of evaluate()")

    settings: Settings
    model: TextsAndPasskeys
    part = "language_model"

    def build(self) -> None:
        chosen = self.settings
        if not chosen.texts:
            raise TextsError("texts names no folder: give task_settings.texts=FOLDER")
        self.trained_on, self.held_out = split_texts(read_texts(chosen.texts), chosen.held_out)
        corpus = [text.content for text in self.trained_on]
        self.tokenizer = byte_level_bpe(corpus, chosen.vocabulary, digits_alone=True)
        self.writer = PasskeyWriter(self._encode)
        ids = torch.cat([self._row(text) for text in self.trained_on])
        texts = RandomRows(ids, chosen.length, chosen.rows, chosen.items, chosen.seed)
        short, tokens = chosen.passkey_short, chosen.passkey_tokens
        passkeys = PasskeyRows(self.writer, chosen.seed, tokens, chosen.length, short_share=short) if tokens else None
        self.dataset: Dataset = WithPasskeys(texts, passkeys)
        sizes = (chosen.hidden_size, chosen.layers, chosen.heads, chosen.intermediate_size, chosen.length)
        self.model = TextsAndPasskeys(small_llama(len(self.tokenizer), *sizes))

    def collate(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return joined(items)

    def writes(self) -> str:
        return "language_model"

    def export(self, model_dir: Path) -> None:
        model_dir = Path(model_dir)
        export_language_model(self.tokenizer, self.model.language_model, model_dir)
        write_split(self.trained_on, self.held_out, model_dir)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Perplexity of rows of the texts held out, and the share of passkeys recalled at full length."""
        ids = torch.cat([self._row(text) for text in self.held_out])
        length, count = self.settings.length, self.settings.scored_rows
        rows = RandomRows(ids, min(length, len(ids)), count, 1, self.settings.seed)[0]
        model = self.model.language_model.eval()
        losses = [float(language_loss(model(row[None]).logits, row[None])) for row in rows]
        figures = {"perplexity": float(torch.tensor(losses).mean().exp())}
        if self.settings.passkey_tokens:
            rng = np.random.default_rng((self.settings.seed, 4))
            documents = [self.writer.document(length, draw_key(rng, True), rng.random()) for _ in range(count)]
            figures["passkeys"] = sum(tells_passkey(model, document) for document in documents) / count
        return figures

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def _row(self, text: Text) -> torch.Tensor:
        """A whole text as ids, the end token behind it."""
        return torch.tensor([*self._encode(text.content), self.tokenizer.eos_token_id])
