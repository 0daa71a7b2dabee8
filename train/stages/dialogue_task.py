"""A stage on dialogues: records -> encode -> embed -> bin -> collate, then the losses of :class:`StageModel`."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import Dataset

from data.toybox import KINDS
from encoders import Encoder, load_encoder
from nextgpt_lite.checkpoint import CheckpointError, load_tokenizer, save_core
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.model import AnyToAnyCore
from train.dialogues.bins import BinnedRows
from train.dialogues.collate import Collator, caption_words
from train.dialogues.embed import own_device
from train.dialogues.encode import Row
from train.dialogues.loader import DataSettings, DialogueLoader
from train.dialogues.targets import caption_encoders, whole_decoders
from train.settings import RecipeError, setting
from train.stages.stage_model import StageModel
from train.task import Task

TOYBOX_KINDS = tuple(dict(KINDS))
EVALUATION_BATCH = 25


class DialogueTask(Task):
    """A stage on dialogues. Subclasses build the core; they may regroup its parts and say what shares a bin."""

    @dataclass(frozen=True)
    class Settings(DataSettings):
        kinds: list[str] = setting([], choices=TOYBOX_KINDS, help="of Toybox's dialogues; none = all, by own weights")
        tokens_per_bin: int = setting(2048, low=1, help="of a batch of rows of similar length, padding included")
        caption_weight: float = setting(2.0, low=0, help="of the distance to the captions' conditions")
        word_weight: float = setting(0.0, low=0, help="of predicting the caption's words from signal tokens; 0 = not")
        group_by_modality: bool = setting(False, help="no batch mixes dialogues with media and dialogues without")
        pack_text: bool = setting(False, help="dialogues in words alone lie end to end in one row; groups them too")
        new_encoder: bool = setting(False, help="the encoder may differ from the one that the core was trained on")

    settings: Settings
    model: StageModel
    output: ClassVar[str] = "core"

    def build(self) -> None:
        chosen = self.settings
        self.encoder = self.load_encoder().to(own_device())
        core = self.load_core()
        self._check_encoder(core.config)
        self.decoders = self.load_decoders(core.config)
        self.tokenizer = load_tokenizer(self.model_dir / "tokenizer", core.config)
        self.loader = DialogueLoader(chosen, core.config, self.encoder, self.tokenizer, self.decoders, self.kinds())
        rows = None if self.loader.streams else self.loader.training()
        if rows is None and chosen.word_weight:
            raise RecipeError("word_weight must be 0 with streams: the words of their captions are not known before")
        words = caption_words(rows) if rows is not None and chosen.word_weight else {}
        self.collator = Collator(self.loader, words, core.table.counts)
        weights = {"caption": chosen.caption_weight, "words": chosen.word_weight, "noise": chosen.noise_weight}
        self.model = StageModel(core, weights, len(words), self.decoders)
        self.dataset = self.dataset_of(rows)

    @abstractmethod
    def load_core(self) -> AnyToAnyCore:
        """The core that this stage starts from."""

    def load_encoder(self) -> Encoder:
        """What reads media."""
        return load_encoder(self.model_dir / "encoder")

    def load_decoders(self, config: CoreConfig) -> dict[str, Any]:
        """What reads the captions that this stage aims at, for each modality that the core has conditions for."""
        load = whole_decoders if self.settings.noise_weight else caption_encoders
        decoders = load(self.model_dir, config.conditions)
        for modality, decoder in decoders.items():
            found, expected = tuple(decoder.condition_shape), tuple(config.conditions[modality])
            if found != expected:
                raise CheckpointError(f"the {modality} decoder takes conditions {found}, the core makes {expected}")
        return decoders

    def _check_encoder(self, config: CoreConfig) -> None:
        """Note the encoder in the core. RecipeError where the core was trained on another one, unless allowed."""
        before, now = config.encoder_identity, self.encoder.identity
        if before != now and not self.settings.new_encoder:
            advice = "put the former back, or set new_encoder: true to train the core on with this one"
            raise RecipeError(f"the core was trained on encoder {before[:12]}, this one is {now[:12]}: {advice}")
        config.encoder_identity = now
        if config.image_size:
            self.encoder.set_image_size(config.image_size)

    def kinds(self) -> list[str]:
        """Kinds of Toybox's dialogues, taken in turn; none = all, by their own weights."""
        return self.settings.kinds

    def dataset_of(self, rows: list[Row] | None) -> Dataset:
        """The dataset: dialogues of similar length in bins; None = they are read as streams."""
        return self.loader.stream(self.binned) if rows is None else self.binned(rows)

    def binned(self, rows: list[Row]) -> BinnedRows:
        """Rows of similar length in bins, those with media apart from those without where the settings say so."""
        chosen = self.settings
        apart = chosen.group_by_modality or chosen.pack_text
        return BinnedRows(rows, chosen.tokens_per_bin, chosen.seed, lambda row: apart and bool(row.media))

    def fits(self, row: Row, other: Row) -> bool:
        """Whether ``other`` may replace ``row`` in a batch."""
        return bool(row.media) == bool(other.media)

    def collate(self, items: Sequence[Sequence[Row]]) -> dict[str, torch.Tensor]:
        rows = self.loader.unreadable.replace([row for item in items for row in item], self.fits)
        return self.collator(rows, pack=self.settings.pack_text and not any(row.media for row in rows))

    def denominators(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | float]:
        return self.collator.denominators(batch)

    def describe_data(self) -> list[str]:
        """The bins of dialogues and their sources."""
        return [*super().describe_data(), *self.loader.describe()]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return self.model.parts()

    def begin(self, run_dir: Path, resume: bool) -> None:
        self.loader.unreadable.begin(run_dir, resume)

    def export(self, model_dir: Path) -> None:
        save_core(self.model.core, Path(model_dir) / self.output)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On dialogues that training never saw: mean losses, and the share of rows whose replies are right token by
        token, for each kind of Toybox and for each manifest. Of several sources the loss of each is given too."""
        sources: dict[str, list[Row]] = defaultdict(list)
        for row in self.loader.held_out():
            sources[row.source].append(row)
        right: dict[str, list[bool]] = defaultdict(list)
        losses: dict[str, list[float]] = defaultdict(list)
        for source, rows in sources.items():
            for start in range(0, len(rows), EVALUATION_BATCH):
                batch = self.loader.unreadable.leave_out(rows[start : start + EVALUATION_BATCH])
                if not batch:
                    continue
                found, hits = self._evaluate_batch(batch)
                for name, value in (found | ({f"loss_{source}": found["loss"]} if len(sources) > 1 else {})).items():
                    losses[name].append(value)
                for row, hit in zip(batch, hits, strict=True):
                    right[row.kind].append(hit)
        figures = {f"right_{kind}": hits for kind, hits in sorted(right.items())}
        figures |= {"right": [hit for hits in right.values() for hit in hits]} if right else {}
        return {name: sum(values) / len(values) for name, values in (losses | figures).items()}

    def _evaluate_batch(self, rows: list[Row]) -> tuple[dict[str, float], list[bool]]:
        """Losses of a batch, and which of its rows' replies are right."""
        device = next(self.model.parameters()).device
        batch = {name: value.to(device) for name, value in self.collator(rows).items()}
        losses = {name: float(value) for name, value in self.model(**batch).items()}
        media = {name: batch[name] for name in ("media_embeddings", "media_mask") if name in batch}
        logits = self.model.core(batch["input_ids"], **media).logits
        wrong = (logits[:, :-1].argmax(-1) != batch["labels"][:, 1:]) & (batch["labels"][:, 1:] != -100)
        return losses, (~wrong.any(1)).tolist()
