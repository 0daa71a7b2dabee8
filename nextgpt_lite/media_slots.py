"""Which placeholder of a row reads which of its media: checked once where media enter the core.

Shapes: B batch, T tokens, M media of a row, P patches of a medium, E embedding width, K tokens of a medium.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class MediaSlots:
    """Media of a batch and where they belong.

    ``features`` are pooled embeddings (B, M, E) or patch tokens (B, M, P, E) and zero where ``mask``, (B, M) or
    (B, M, P), is false; ``present`` (B, M) says which media a row has. ``is_placeholder`` (B, T) is true at
    placeholders, and ``token`` (B, T) says which of the row's M x K media tokens each of them reads: those that are
    present, in order.
    """

    features: torch.Tensor
    mask: torch.Tensor
    present: torch.Tensor
    is_placeholder: torch.Tensor
    token: torch.Tensor
    tokens_each: int

    def pooled(self) -> torch.Tensor:
        """One embedding a medium (B, M, E): of patches their mean."""
        if self.features.ndim == 3:
            return self.features
        return self.features.sum(2) / self.mask.sum(2, keepdim=True).clamp_min(1)

    def visibility(self, reach: str) -> torch.Tensor:
        """Which token sees which medium: its placeholders (B, T, M), or with ``reach`` "row" all tokens (B, 1, M)."""
        if reach == "row":
            return self.present[:, None]
        slots = torch.arange(self.features.shape[1], device=self.is_placeholder.device)
        return self.is_placeholder[..., None] & ((self.token // self.tokens_each)[..., None] == slots)


def batch_media(rows: Sequence[Sequence[torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Media of each row, embeddings (E,) or patch tokens (P, E) -> the core's keywords; none where no row has any.

    ``media_mask`` is (B, M), or of patches (B, M, P).
    """
    most = max(len(row) for row in rows)
    if most == 0:
        return {}
    one = next(medium for row in rows for medium in row)
    nothing = one.new_zeros(one.shape if one.ndim == 1 else (0, one.shape[-1]))
    padded = [[*row, *[nothing] * (most - len(row))] for row in rows]
    flat = [medium for row in padded for medium in row]
    if one.ndim == 1:
        present = [[place < len(row) for place in range(most)] for row in rows]
        features = torch.stack(flat).unflatten(0, (len(rows), most))  # (B, M, E)
        return {"media_embeddings": features, "media_mask": torch.tensor(present, device=one.device)}
    features = pad_sequence(flat, batch_first=True).unflatten(0, (len(rows), most))  # (B, M, P, E)
    lengths = torch.tensor([[len(medium) for medium in row] for row in padded], device=one.device)
    mask = torch.arange(features.shape[2], device=one.device) < lengths[..., None]
    return {"media_embeddings": features, "media_mask": mask}


def find_media_slots(
    is_placeholder: torch.Tensor,
    features: torch.Tensor,
    mask: torch.Tensor | None,
    tokens: int | None,
    shape: tuple[int, ...],
) -> MediaSlots:
    """Placeholders (B, T) and media -> which reads which.

    Args:
        is_placeholder: (B, T), true where a placeholder stands.
        features: (B, M, E) or (B, M, P, E), padded with anything.
        mask: (B, M) or (B, M, P), true where there is no padding. None = all patches of as many media as the
            placeholders stand for; of all media where their number of tokens is not known.
        tokens: K, or None where every patch is one.
        shape: what one medium must look like, -1 = any: (E,) or (-1, E).

    Raises ValueError for media of another shape, placeholders without a medium, and values that are not finite.
    """
    _check_shape(features, shape)
    wanted = is_placeholder.sum(1)  # (B,)
    mask = _full_mask(mask, features, wanted, tokens)
    features = features.masked_fill(~mask[..., None], 0.0)
    _check_finite(features)
    present = mask if mask.ndim == 2 else mask.any(-1)
    given = mask if tokens is None else present[..., None].expand(-1, -1, tokens)  # (B, M, K)
    _check_count(wanted, given.flatten(1).sum(1))
    in_order = (~given.flatten(1)).int().argsort(dim=1, stable=True)  # those that are present come first
    if tokens == 0:  # media stand nowhere in the text
        return MediaSlots(
            features, mask, present, is_placeholder, torch.zeros_like(is_placeholder, dtype=torch.long), 1
        )
    token = in_order.gather(1, (is_placeholder.cumsum(1) - 1).clamp(0, in_order.shape[1] - 1))
    return MediaSlots(features, mask, present, is_placeholder, token, given.shape[2])


def _full_mask(
    mask: torch.Tensor | None, features: torch.Tensor, wanted: torch.Tensor, tokens: int | None
) -> torch.Tensor:
    """What of the features is present: (B, M), or of patches (B, M, P). Where nothing says it, ``wanted`` (B,) does."""
    if mask is None and tokens is None:
        mask = features.new_ones(features.shape[:2], dtype=torch.bool)
    elif mask is None and tokens is not None:
        mask = torch.arange(features.shape[1], device=wanted.device) * tokens < wanted[:, None]
    assert mask is not None
    return mask if mask.ndim == features.ndim - 1 else mask[..., None].expand(features.shape[:-1])


def _check_shape(features: torch.Tensor, shape: tuple[int, ...]) -> None:
    found = tuple(features.shape[2:])
    if len(found) != len(shape) or any(size not in (-1, own) for size, own in zip(shape, found, strict=True)):
        raise ValueError(f"media of shape {found}: this model's encoder gives {shape}, where -1 is any number")


def _check_finite(features: torch.Tensor) -> None:
    finite = features.isfinite().flatten(2).all(-1)  # (B, M)
    if not bool(finite.all()):
        row, medium = (~finite).nonzero()[0].tolist()
        raise ValueError(f"medium {medium} of row {row} holds values that are not finite")


def _check_count(wanted: torch.Tensor, given: torch.Tensor) -> None:
    if bool((wanted > given).any()):
        row = int((wanted > given).nonzero()[0])
        raise ValueError(f"row {row} has {int(wanted[row])} placeholders, but its media give {int(given[row])} tokens")
