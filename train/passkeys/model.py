"""A language model that learns from rows of text and from passkey documents beside them.

Shapes: B rows of T tokens, N documents of L tokens.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from nextgpt_lite.model import language_loss


class TextsAndPasskeys(nn.Module):
    """A causal language model whose loss is that of the texts plus that of the passkey documents."""

    def __init__(self, language_model: PreTrainedModel) -> None:
        super().__init__()
        self.language_model = language_model

    def text_logits(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) of rows of text."""
        return self.language_model(input_ids, use_cache=False).logits

    def forward(
        self,
        input_ids: torch.Tensor,
        passkey_ids: torch.Tensor | None = None,
        passkey_weights: torch.Tensor | None = None,
        passkey_positions: torch.Tensor | None = None,
        spread_ids: torch.Tensor | None = None,
        spread_positions: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Ids of texts (B, T) without padding; passkey documents (N, L), padded on the right with weight 0; pieces of
        the texts at positions with a gap (B, P)."""
        parts = {"text_loss": language_loss(self.text_logits(input_ids), input_ids)}
        if passkey_ids is not None and passkey_weights is not None and passkey_positions is not None:
            parts |= passkey_losses(self.language_model, passkey_ids, passkey_weights, passkey_positions)
        if spread_ids is not None and spread_positions is not None:
            logits = logits_at(self.language_model, spread_ids, spread_positions)
            parts["spread_loss"] = language_loss(logits, spread_ids)
        loss = torch.stack([value for name, value in parts.items() if name.endswith("_loss")]).sum()
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}


def passkey_losses(
    language_model: PreTrainedModel, ids: torch.Tensor, weights: torch.Tensor, positions: torch.Tensor
) -> dict[str, torch.Tensor]:
    """``passkey_loss`` of documents (N, L), read densely, and ``answers``, the accuracy at tokens of weight 1."""
    logits = logits_at(language_model, ids, positions)
    predicted = (logits[:, :-1].argmax(-1) == ids[:, 1:])[weights[:, 1:] == 1].float()
    return {"passkey_loss": weighted_loss(logits, ids, weights), "answers": predicted.mean()}


def logits_at(language_model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Logits (N, L, V) of ids at positions with gaps, read densely.

    The mask of ones is needed: without one transformers takes a gap of positions for the border of packed rows.
    """
    return language_model(ids, attention_mask=torch.ones_like(ids), position_ids=positions, use_cache=False).logits


def weighted_loss(logits: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Next-token cross-entropy, the mean by ``weights`` (N, L) of the tokens predicted."""
    losses = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()
