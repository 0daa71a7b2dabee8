"""Figures of a stage on dialogues that training never saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from train.dialogues.collate import Collator
from train.dialogues.encode import Row
from train.dialogues.unreadable import UnreadableMedia
from train.stages.stage_model import StageModel

EVALUATION_BATCH = 25


@torch.no_grad()
def evaluate_rows(
    model: StageModel, rows: Sequence[Row], collator: Collator, unreadable: UnreadableMedia
) -> dict[str, float]:
    """Mean losses, and the share of rows whose replies are right token by token.

    The share is given for each kind of Toybox and for each manifest; where there are several sources, so is the loss of
    each.
    """
    sources = list(dict.fromkeys(row.source for row in rows))
    right: dict[str, list[bool]] = defaultdict(list)
    losses: dict[str, list[float]] = defaultdict(list)
    for source in sources:
        own = [row for row in rows if row.source == source]
        for start in range(0, len(own), EVALUATION_BATCH):
            batch = unreadable.leave_out(own[start : start + EVALUATION_BATCH])
            found, hits = _evaluate_batch(model, batch, collator) if batch else ({}, [])
            for name, value in found.items():
                losses[name].append(value)
            if len(sources) > 1 and batch:
                losses[f"loss_{source}"].append(found["loss"])
            for row, hit in zip(batch, hits, strict=True):
                right[row.kind].append(hit)
    figures = {name: sum(values) / len(values) for name, values in losses.items()}
    figures |= {f"right_{kind}": sum(hits) / len(hits) for kind, hits in sorted(right.items())}
    every = [hit for hits in right.values() for hit in hits]
    return figures | ({"right": sum(every) / len(every)} if every else {})


def _evaluate_batch(model: StageModel, rows: list[Row], collator: Collator) -> tuple[dict[str, float], list[bool]]:
    """Losses of a batch, and which of its rows' replies are right."""
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in collator(rows).items()}
    losses = {name: float(value) for name, value in model(**batch).items()}
    media = {name: batch[name] for name in ("media_embeddings", "media_mask") if name in batch}
    logits = model.core(batch["input_ids"], **media).logits
    wrong = (logits[:, :-1].argmax(-1) != batch["labels"][:, 1:]) & (batch["labels"][:, 1:] != -100)
    return losses, (~wrong.any(1)).tolist()
