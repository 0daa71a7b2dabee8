"""Foundation: a tokenizer and a small Llama on plain text files, with passkey documents among them.

It is what context extension starts from where no pretrained model is at hand: it reads rows of ``length`` tokens and
no longer ones. Whole files are kept back (:func:`data.texts.split_texts`) and named in ``texts.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import LlamaForCausalLM

from data.passkey import PasskeyWriter, draw_key
from data.texts import Text, TextsError, read_texts, split_texts, write_split
from nextgpt_lite.long_context.reading import tells_passkey
from nextgpt_lite.model import language_loss
from train.foundations.language.language_model import byte_level_bpe, export_language_model, small_llama
from train.passkey_rows import PasskeyRows, RandomRows, WithPasskeys, joined
from train.task import Task
from train.texts_and_passkeys import TextsAndPasskeys


class TextLanguageModelTask(Task):
    """Trains on a folder of texts; exports ``tokenizer/``, ``language_model/`` and ``texts.json``."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "seed": 61,
        "texts": "",  # folder of UTF-8 .txt files
        "held_out": 0.1,  # share of the texts that is never trained on, in whole files
        "vocabulary": 2048,
        "hidden_size": 256,
        "layers": 6,
        "heads": 4,
        "intermediate_size": 688,
        "length": 512,  # tokens of a row: the positions that the model knows
        "rows": 2,  # rows of text of an item
        "items": 4096,  # of a pass through the data
        "passkey_tokens": 1024,  # of an item; 0 = no passkey documents
        "passkey_short": 0.0,  # share of the items whose passkey documents are short ones
        "scored_rows": 16,  # of evaluate()
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        chosen = self.settings
        if not chosen["texts"]:
            raise TextsError("texts names no folder: give task_settings.texts=FOLDER")
        self.trained_on, self.held_out = split_texts(read_texts(chosen["texts"]), chosen["held_out"])
        corpus = [text.content for text in self.trained_on]
        self.tokenizer = byte_level_bpe(corpus, chosen["vocabulary"], digits_alone=True)
        self.writer = PasskeyWriter(self._encode)
        ids = torch.cat([self._row(text) for text in self.trained_on])
        texts = RandomRows(ids, chosen["length"], chosen["rows"], chosen["items"], chosen["seed"])
        self.dataset: Dataset = WithPasskeys(texts, self._passkeys())
        self.model = TextsAndPasskeys(small_llama(len(self.tokenizer), chosen | {"positions": chosen["length"]}))

    @property
    def language_model(self) -> LlamaForCausalLM:
        """That of ``model``, for which a sharded run puts a whole one at its end."""
        return cast(LlamaForCausalLM, cast(TextsAndPasskeys, self.model).language_model)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"language_model": list(self.model.parameters())}

    def collate(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return joined(items)

    def export(self, model_dir: Path) -> None:
        model_dir = Path(model_dir)
        export_language_model(self.tokenizer, self.language_model, model_dir)
        write_split(self.trained_on, self.held_out, model_dir)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Perplexity of rows of the texts held out, and the share of passkeys told at full length."""
        ids = torch.cat([self._row(text) for text in self.held_out])
        length, count = self.settings["length"], self.settings["scored_rows"]
        rows = RandomRows(ids, min(length, len(ids)), count, 1, self.settings["seed"])[0]
        model = self.language_model.eval()
        losses = [float(language_loss(model(row[None]).logits, row[None])) for row in rows]
        figures = {"perplexity": float(torch.tensor(losses).mean().exp())}
        if self.settings["passkey_tokens"]:
            rng = np.random.default_rng((self.settings["seed"], 4))
            documents = [self.writer.document(length, draw_key(rng, True), rng.random()) for _ in range(count)]
            figures["passkeys"] = sum(tells_passkey(model, document) for document in documents) / count
        return figures

    def _passkeys(self) -> PasskeyRows | None:
        chosen = self.settings
        if not chosen["passkey_tokens"]:
            return None
        return PasskeyRows(
            self.writer,
            chosen["seed"],
            chosen["passkey_tokens"],
            chosen["length"],
            short_share=chosen["passkey_short"],
        )

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def _row(self, text: Text) -> torch.Tensor:
        """A whole text as ids, the end token behind it."""
        return torch.tensor([*self._encode(text.content), self.tokenizer.eos_token_id])
