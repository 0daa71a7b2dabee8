"""The reference that the generator is compared with: one teacher-forced pass of the core over prompt and reply."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nextgpt_lite.media_slots import batch_media
from nextgpt_lite.model import AnyToAnyCore


@torch.no_grad()
def forced_conditions(
    core: AnyToAnyCore, ids: list[int], media: Sequence[torch.Tensor], reply: list[int]
) -> dict[str, list[torch.Tensor]]:
    """Conditions (L, C) of a reply's whole signal spans, by modality in order."""
    full = torch.tensor([[*ids, *reply]])
    hidden = core(full, **batch_media([media])).last_hidden_state
    full[0, : len(ids)] = 0  # spans of earlier turns are not this reply's
    return {modality: list(core.conditions(full, hidden, modality)) for modality in core.output_projections}
