"""Media as summands: what their weighted sum lies near, and a message that has a medium made of it.

Letters: E embedding width, N media.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from nextgpt_lite.inspection.explain import Neighbour, nearest
from nextgpt_lite.inspection.mixtures import mixture

if TYPE_CHECKING:
    from nextgpt_lite.any_to_any import AnyToAny

#: What is said about a sum to have a medium made of it.
REQUESTS = {"image": "draw this", "video": "make a video of this", "audio": "let me hear it"}


@dataclass(frozen=True)
class Sum:
    """A weighted sum of media.

    ``part`` stands for it in messages, ``embedding`` (E,) is its direction before the visual cache, ``likeness`` its
    cosine with each of the N media, ``neighbours`` are the cache's prototypes nearest to it (none without a cache).
    """

    part: dict[str, Any]
    embedding: torch.Tensor
    likeness: tuple[float, ...]
    neighbours: tuple[Neighbour, ...]

    def messages(self, modality: str) -> list[dict[str, Any]]:
        """What to ask the model for a medium of ``modality`` made of the sum."""
        if modality not in REQUESTS:
            raise ValueError(f"nothing can be made of modality {modality!r}: expected one of {', '.join(REQUESTS)}")
        return [{"role": "user", "content": [self.part, {"type": "text", "text": REQUESTS[modality]}]}]


@torch.no_grad()
def add(model: AnyToAny, parts: Sequence[dict[str, Any]], weights: Sequence[float]) -> Sum:
    """The sum of media, each with its weight. ValueError unless the weights' sum is positive, or without media.

    The first medium that counts positively gives the placeholder that the sum stands behind.
    """
    if len(parts) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(parts)} media: give one for each")
    summands = sorted(((p, w) for p, w in zip(parts, weights, strict=True) if w), key=lambda each: each[1] <= 0)
    part = mixture(model, [part for part, _ in summands], [weight for _, weight in summands])
    units = torch.stack([model.encode(part) for part in parts])  # (N, E)
    mixed = functional.normalize(units.new_tensor(list(weights)) @ units, dim=0)
    return Sum(part, mixed, tuple((units @ mixed).tolist()), nearest(model, mixed))
