"""Passkey documents beside rows of text: without them a small model learns no retrieval that could be extended.

Shapes: B rows of T tokens, N documents of a step, all of one length L.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from data.passkey import ANSWER, FIRST, PLAIN, REPEATED, PasskeyDocument, PasskeyWriter, draw_key
from nextgpt_lite.model import language_loss

LENGTHS = 13
SHORT = 128  # tokens


@dataclass(frozen=True)
class PasskeyRows:
    """Documents for each step, drawn from (seed, step) alone.

    Their lengths are spread evenly over the ratios between the shortest and the longest, so that short documents, from
    which copying is learnt first, are seen all the time. ``span``: positions that they are spread over (PoSE,
    2309.10400): one place of each, drawn at random, is followed by a gap, so that key and question are up to ``span``
    positions apart in a row of ``longest`` tokens. Where all lengths come equally often, a small model learns nothing
    for a long time; from short documents alone it does so within few steps: see ``short_share``.
    """

    writer: PasskeyWriter
    seed: int
    tokens: int  #: about how many a step has
    longest: int  #: length of the longest document, in tokens
    span: int | None = None  #: None = no gap
    plain_weight: float = 0.05  #: of filler and question in the loss; answers count 1, a key's first mention nothing
    short_share: float = 0.0  #: of the steps whose documents have at most ``SHORT`` tokens
    shortest: int = 0  #: length of the shortest, if the writer's shortest is not to be it

    def __post_init__(self) -> None:
        least = max(self.shortest, self.writer.shortest)
        if self.longest < least:
            raise ValueError(f"passkey documents of at most {self.longest} tokens are too short: expected {least}")
        if self.span is not None and self.span < self.longest:
            raise ValueError(f"passkey documents of {self.longest} tokens do not fit into {self.span} positions")

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """``passkey_ids``, ``passkey_weights`` and ``passkey_positions``, each (N, L)."""
        rng = np.random.default_rng((self.seed, step, 3))
        length = self._length(rng)
        count = max(1, self.tokens // length)
        documents = [self._document(rng, length) for _ in range(count)]
        weight = {PLAIN: self.plain_weight, FIRST: 0.0, REPEATED: 1.0, ANSWER: 1.0}
        ids = torch.tensor([document.ids for document in documents])
        weights = torch.tensor([[weight[role] for role in document.roles] for document in documents])
        positions = torch.stack([spread_positions(rng, length, self.span) for _ in range(count)])
        return {"passkey_ids": ids, "passkey_weights": weights, "passkey_positions": positions}

    def _document(self, rng: np.random.Generator, length: int) -> PasskeyDocument:
        """One question in half of the documents, any number in the others: copying is learnt from many answers."""
        many = int(rng.integers(self.writer.max_questions(length))) if rng.random() < 0.5 else 0
        return self.writer.document(length, draw_key(rng, False), rng.random(), 1 + many)

    def _length(self, rng: np.random.Generator) -> int:
        """One of few lengths: matrix products keep memory for every shape that they have seen."""
        short = bool(self.short_share) and rng.random() < self.short_share
        shortest = max(self.shortest, self.writer.shortest)
        longest = min(self.longest, max(SHORT, shortest)) if short else self.longest
        ratio = longest / shortest
        return round(shortest * ratio ** (rng.integers(LENGTHS) / (LENGTHS - 1)))


def spread_positions(rng: np.random.Generator, length: int, span: int | None) -> torch.Tensor:
    """Positions 0 to L (L,), those after a random one shifted by a random gap, below ``span`` (PoSE; None = no gap)."""
    positions = torch.arange(length)
    if span is None:
        return positions
    cut, gap = rng.integers(length), rng.integers(span - length + 1)
    positions[cut:] += int(gap)
    return positions


@dataclass(frozen=True)
class SpreadPieces:
    """A piece of ``length`` tokens of each row of text, its positions spread over ``span``.

    Rows are read in groups, so nothing in them is further away than a group is long. In a spread piece it is.
    """

    seed: int
    length: int
    span: int

    def batch(self, index: int, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """``spread_ids`` and ``spread_positions`` (B, L) of rows (B, T)."""
        rng = np.random.default_rng((self.seed, index, 4))
        start = int(rng.integers(rows.shape[1] - self.length + 1))
        positions = [spread_positions(rng, self.length, self.span) for _ in rows]
        return {"spread_ids": rows[:, start : start + self.length], "spread_positions": torch.stack(positions)}


class RandomRows(Dataset):
    """``count`` items of ``rows`` rows each, (rows, length), cut from ``ids`` (all tokens) at random places.

    An item depends on the seed and its index only.
    """

    def __init__(self, ids: torch.Tensor, length: int, rows: int, count: int, seed: int) -> None:
        if len(ids) < length:
            raise ValueError(f"texts hold {len(ids)} tokens, too few for a row of {length}")
        self.ids, self.length, self.rows, self.count, self.seed = ids, length, rows, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        if not 0 <= index < self.count:
            raise IndexError(index)
        starts = np.random.default_rng((self.seed, index)).integers(len(self.ids) - self.length + 1, size=self.rows)
        return torch.stack([self.ids[start : start + self.length] for start in starts.tolist()])


class WithPasskeys(Dataset):
    """Items of ``texts``, ids (B, T), as ``input_ids``, each with passkey documents and spread pieces of its own.

    ``texts`` may be a tensor (items, B, T).
    """

    def __init__(
        self, texts: RandomRows | torch.Tensor, passkeys: PasskeyRows | None, pieces: SpreadPieces | None = None
    ) -> None:
        self.texts, self.passkeys, self.pieces = texts, passkeys, pieces

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        documents = {} if self.passkeys is None else self.passkeys.batch(index)
        pieces = {} if self.pieces is None else self.pieces.batch(index, self.texts[index])
        return {"input_ids": self.texts[index], **documents, **pieces}


def joined(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Items of :class:`WithPasskeys` as one batch: passkey documents of other lengths are padded on the right."""
    batch = {"input_ids": torch.cat([item["input_ids"] for item in items])}
    for name in ("passkey_ids", "passkey_weights", "passkey_positions", "spread_ids", "spread_positions"):
        rows = [row for item in items if name in item for row in item[name]]
        if rows:
            batch[name] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return batch


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
