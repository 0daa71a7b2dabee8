"""Preference tuning on pairs (DPO, 2305.18290): of two replies to the same conversation the better becomes likelier.

The loss is -log sigmoid(beta (r(better) - r(worse))), where r is the log-probability of a reply under the model minus
that under the model it starts from. Signal tokens are tokens of a reply like all others, so which media a reply brings
can be preferred as well as its words.

Shapes: B pairs, T tokens, V vocabulary, D model width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from nextgpt_lite.model import AnyToAnyCore
from train.dialogues.bins import BinnedRows
from train.dialogues.encode import Row
from train.dialogues.loader import Candidates
from train.dialogues.tuned_encoder import TunedEncoder
from train.rewards.start import kept_start
from train.settings import RecipeError, setting
from train.stages.stage_model import StageModel
from train.stages.three_stages import InstructionTuningTask

BETTER, WORSE = "better", "worse"


class PreferenceTask(InstructionTuningTask):
    """Tunes a whole core on the records of manifests that have the key ``rejected``; exports ``core``."""

    @dataclass(frozen=True)
    class Settings(InstructionTuningTask.Settings):
        start: str = setting("core", help="folder in the model folder of the core to go on from")
        beta: float = setting(0.1, above=0, help="how strongly the model is held near the one it starts from")

    settings: Settings
    model: "PreferenceModel"

    def build(self) -> None:
        super().build()
        stage: Any = self.model
        self.model = PreferenceModel(stage, self.settings.beta)
        unseen = [row for row in self.unseen if row.rejected is not None]
        self.reference = self._references([*self._rows, *unseen])

    def dataset_of(self, rows: list[Row] | None) -> BinnedRows:
        """Bins of pairs. RecipeError where a conversation has no worse reply."""
        if rows is None:
            raise RecipeError("preference tuning reads every pair before training: expected no streams")
        if lacking := sum(row.rejected is None for row in rows):
            raise RecipeError(f"{lacking:,} of {len(rows):,} records have no key 'rejected': expected pairs of replies")
        self._rows = rows
        return BinnedRows(rows, self.settings.tokens_per_bin, self.settings.seed, length=_length)

    def begin(self, run_dir: Path, resume: bool) -> None:
        super().begin(run_dir, resume)
        reference = {where: torch.tensor(each) for where, each in self.reference.items()}
        self.reference = {where: each.tolist() for where, each in kept_start(run_dir, resume, reference).items()}

    def makes_media(self) -> bool:
        """No: what a reply's media show is not compared."""
        return False

    def fits(self, row: Row, other: Row) -> bool:
        return super().fits(row, other) and other.rejected is not None

    def make_batch(self, rows: list[Row], candidates: Candidates) -> dict[str, Any]:
        """{"better", "worse": batches of the core, "reference": (B, 2) log-probabilities before any step}."""
        rows = self.loader.unreadable.replace(rows, candidates, self.fits)
        return self._pairs(rows) | {"reference": torch.tensor([self.reference[row.where] for row in rows])}

    def _pairs(self, rows: Sequence[Row]) -> dict[str, Any]:
        sides = {BETTER: rows, WORSE: [row.rejected for row in rows if row.rejected is not None]}
        batches = {side: self.collator([_last_reply(row) for row in own]) for side, own in sides.items()}
        kept = ("input_ids", "labels", "media_", "shown_")
        return {side: {name: batch[name] for name in batch if name.startswith(kept)} for side, batch in batches.items()}

    @torch.no_grad()
    def _references(self, rows: Sequence[Row]) -> dict[str, list[float]]:
        """By place of each pair the log-probabilities of its replies under the model as it is now."""
        found: dict[str, list[float]] = {}
        self.model.eval()
        bins = BinnedRows(rows, self.settings.tokens_per_bin, 0, length=_length).bins if rows else []
        for own in tqdm(bins, desc="reference", unit="bin"):
            pairs = self._pairs(own)
            better, worse = (self.model.log_probabilities(pairs[side]).tolist() for side in (BETTER, WORSE))
            found |= {row.where: list(each) for row, each in zip(own, zip(better, worse, strict=True), strict=True)}
        self.model.train()
        return found

    def denominators(self, batch: dict[str, Any]) -> dict[str, float]:
        return {"loss": float(len(batch["reference"]))}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return self.model.stage.parts()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Of pairs that training never saw: the loss, and the share of which the better reply gained more."""
        rows = [row for row in self.unseen if row.rejected is not None]
        if not rows:
            return {}
        found = self._references(rows)
        now = torch.tensor([found[row.where] for row in rows])  # (B, 2)
        before = torch.tensor([self.reference[row.where] for row in rows])
        margins = self.settings.beta * ((now - before)[:, 0] - (now - before)[:, 1])
        return {
            "loss": -functional.logsigmoid(margins).mean().item(),
            "gained": (margins > 0).float().mean().item(),
            "preferred": (now[:, 0] > now[:, 1]).float().mean().item(),
        }


class PreferenceModel(nn.Module):
    """A core under the loss on pairs."""

    def __init__(self, stage: StageModel, beta: float) -> None:
        super().__init__()
        self.stage, self.beta = stage, beta

    @property
    def encoder(self) -> TunedEncoder | None:
        return self.stage.encoder

    @property
    def core(self) -> AnyToAnyCore:
        return self.stage.core

    def forward(
        self, better: dict[str, torch.Tensor], worse: dict[str, torch.Tensor], reference: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Batches of both replies, and their log-probabilities (B, 2) under the start."""
        gains = [self.log_probabilities(side) - reference[:, n] for n, side in enumerate((better, worse))]
        margin = self.beta * (gains[0] - gains[1])
        parts = {"margin": margin.mean().detach(), "gained": (margin > 0).float().mean()}
        return {"loss": -functional.logsigmoid(margin).mean(), **parts}

    def log_probabilities(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of what is labelled, summed over each row: (B,)."""
        media = self.stage.media(batch)
        hidden = self.core(batch["input_ids"], **media, logits_to_keep=1).last_hidden_state  # (B, T, D)
        targets = batch["labels"][:, 1:]
        labelled = targets != -100
        scores = self.core.logits(hidden[:, :-1][labelled]).float().log_softmax(-1)  # (labels, V)
        each = scores.gather(1, targets[labelled][:, None])[:, 0]
        rows = labelled.nonzero()[:, 0]
        return each.new_zeros(len(targets)).index_add(0, rows, each)


def _length(row: Row) -> int:
    return len(row) + (0 if row.rejected is None else len(row.rejected))


def _last_reply(row: Row) -> Row:
    """The row with labels on its last reply alone: what stands before it is the same in both."""
    starts = [n for n, (before, now) in enumerate(pairwise([0, *row.assistant_mask])) if now > before]
    return replace(row, assistant_mask=[0] * starts[-1] + row.assistant_mask[starts[-1] :])
