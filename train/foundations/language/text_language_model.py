"""A tokenizer and a small Llama, trained on plain text files, with passkey documents among them.

    nextgpt-lite train train/recipes/foundations/text_language_model.yaml task_settings.texts=FOLDER

Context extension starts from it where no pretrained model is at hand: it reads rows of ``length`` tokens and no longer
ones. Whole files are held out (:func:`data.texts.split_texts`) and named in ``texts.json``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from data.passkey import PasskeyWriter, draw_key
from data.texts import Text, TextsError, read_texts, split_texts, write_split
from nextgpt_lite.long_context.streaming import tells_passkey
from nextgpt_lite.model import language_loss
from train.foundations.language.language_model import SPECIAL, byte_level_bpe, export_language_model, small_llama
from train.passkeys import PasskeyRows, RandomRows, TextsAndPasskeys, WithPasskeys, joined
from train.settings import setting
from train.task import Task


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
