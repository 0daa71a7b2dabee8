"""Mixing embeddings of one space: several inputs at once, and arithmetic with them (2309.03905, Fig. 7)."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from adapters.visual_cache import VisualCache

#: Point embeddings are this much longer than the others before they are normalised (Point-Bind).
POINT_SCALE = 5.0


def mix(embeddings: Sequence[torch.Tensor], weights: Sequence[float], normalise: bool = True) -> torch.Tensor:
    """Weighted mean of embeddings (..., E): sum(w_i f_i / |f_i|) / (sum(w_i) + 1e-6).

    The result is not normalised again, as in the released code: inputs that disagree give a shorter one. A weight may
    be negative, which takes that input's meaning away. ``normalise`` False keeps each input's own length. Raises
    ValueError unless there is one weight for each embedding, their sum is positive, and every value is finite.
    """
    if not embeddings or len(embeddings) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(embeddings)} embeddings: give one for each, at least one")
    if not sum(weights) > 0:
        raise ValueError(f"weights {list(weights)} sum to {sum(weights)}: expected a positive sum")
    stacked = torch.stack(list(embeddings))  # (inputs, ..., E)
    if not stacked.isfinite().all():
        raise ValueError("an embedding holds values that are not finite")
    directions = functional.normalize(stacked, dim=-1) if normalise else stacked
    shares = stacked.new_tensor(list(weights)) / (sum(weights) + 1e-6)
    return torch.einsum("i,i...->...", shares, directions)


def image_embedding(
    modalities: Sequence[str],
    projections: Sequence[torch.Tensor],
    weights: Sequence[float],
    cache: VisualCache | None = None,
) -> torch.Tensor:
    """What drives an unCLIP decoder (decoders.image): (B, E) from projections (B, E) that are not normalised.

    ``modalities`` says what each projection is of. Each keeps its length, points divided by 5; the cache, which knows
    unit vectors, turns the direction, and the length is put back (ImageBind-LLM's image generation).
    """
    scaled = [
        value / POINT_SCALE if modality == "points" else value
        for modality, value in zip(modalities, projections, strict=True)
    ]
    mixed = mix(scaled, weights, normalise=False)
    if cache is None:
        return mixed
    length = mixed.norm(dim=-1, keepdim=True)
    return cache(mixed / length) * length
