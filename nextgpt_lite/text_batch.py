"""Replies that are generated together: rows join and leave between two tokens (continuous batching).

A prompt is read alone and its keys and values are then set beside those of the rows that are already there, padded on
the left. Each row samples with its own generator, so that a reply does not depend on who shares its batch.

Shapes: B rows, S positions of the longest row, V vocabulary with the added tokens, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache

from nextgpt_lite.answer_language import prefer
from nextgpt_lite.generate import Prepared
from nextgpt_lite.media_slots import batch_media
from nextgpt_lite.model import AnyToAnyCore, PromptStore


@dataclass(frozen=True, eq=False)
class Sampling:
    """How a reply's tokens are chosen: greedily at ``temperature`` 0; its first rather not one of ``silent`` (V,)."""

    max_new_tokens: int = 160
    temperature: float = 0.0
    seed: int = 0
    silent: torch.Tensor | None = None


@dataclass(eq=False)
class Row:
    """A reply in the making. ``ids`` are its tokens so far, without the end token."""

    prepared: Prepared
    sampling: Sampling
    generator: torch.Generator
    ids: list[int] = field(default_factory=list)
    finished: bool = False

    def take(self, logits: torch.Tensor, end: int) -> None:
        """Choose the next token by ``logits`` (V,)."""
        if self.sampling.silent is not None and not self.ids:
            logits = prefer(logits, self.sampling.silent)
        if self.sampling.temperature > 0:
            chances = torch.softmax(logits.float() / self.sampling.temperature, dim=-1)
            token = int(torch.multinomial(chances, 1, generator=self.generator))
        else:
            token = int(logits.argmax())
        if token != end:
            self.ids.append(token)
        self.finished = token == end or len(self.ids) >= self.sampling.max_new_tokens


class TextBatch:
    """The rows that a core generates at present. ``end`` is the id of the end token."""

    def __init__(self, core: AnyToAnyCore, end: int) -> None:
        self.core, self.end = core, end
        self.rows: list[Row] = []
        self._cache = DynamicCache()
        self._mask = torch.zeros(0, 0)
        self._store = PromptStore()

    @torch.no_grad()
    def add(self, prepared: Prepared, sampling: Sampling) -> Row:
        """Read a prompt and choose the first token of its reply; the row joins, unless it is finished by that."""
        device = self.core.added_embedding.device
        row = Row(prepared, sampling, torch.Generator(device).manual_seed(sampling.seed))
        ids = torch.tensor([prepared[0]], device=device)  # (1, S)
        cache, positions = DynamicCache(), torch.arange(ids.shape[1], device=device)[None]
        media = batch_media([prepared[1]])
        output = self.core(ids, None, positions, past_key_values=cache, use_cache=True, logits_to_keep=1, **media)
        row.take(output.logits[0, -1], self.end)
        if not row.finished:
            self._join(row, cache, torch.ones_like(ids))
        return row

    @torch.no_grad()
    def step(self) -> list[Row]:
        """One more token for each row. Those that are finished by it leave and are returned."""
        if not self.rows:
            return []
        last = torch.tensor([row.ids[-1:] for row in self.rows], device=self._mask.device)  # (B, 1)
        self._mask = functional.pad(self._mask, (0, 1), value=1)  # (B, S)
        output = self.core(
            last,
            None if bool(self._mask.all()) else self._mask,
            self._mask.sum(1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
            prompt_store=self._store,
            **self._media_of_every_step(),
        )
        for row, logits in zip(self.rows, output.logits[:, -1], strict=True):
            row.take(logits, self.end)
        finished = [row for row in self.rows if row.finished]
        if finished:
            self._keep([row for row in self.rows if not row.finished])
        return finished

    def remove(self, row: Row) -> None:
        """Take an unfinished row out."""
        self._keep([other for other in self.rows if other is not row])

    def _join(self, row: Row, cache: DynamicCache, mask: torch.Tensor) -> None:
        if self.rows:
            width = max(self._mask.shape[1], mask.shape[1])
            mask = torch.cat([_padded(self._mask, width), _padded(mask, width)])
            for layer, new in zip(_full_layers(self._cache), _full_layers(cache), strict=True):
                new.keys = torch.cat([_padded(layer.keys, width), _padded(new.keys, width)])  # (B, H, S, head width)
                new.values = torch.cat([_padded(layer.values, width), _padded(new.values, width)])
        self.rows, self._cache, self._mask, self._store = [*self.rows, row], cache, mask, PromptStore()

    def _keep(self, rows: list[Row]) -> None:
        """Leave out all other rows, and the columns that only they needed."""
        kept = torch.tensor([self.rows.index(row) for row in rows], dtype=torch.long, device=self._mask.device)
        self.rows, self._store = rows, PromptStore()
        if not rows:
            self._cache, self._mask = DynamicCache(), self._mask[:0]
            return
        mask = self._mask[kept]
        first = int(mask.any(0).int().argmax())
        self._mask = mask[:, first:]
        for layer in _full_layers(self._cache):
            # What is cut off is copied, lest the memory of rows that have left stays.
            layer.keys = layer.keys[kept, :, first:].contiguous()
            layer.values = layer.values[kept, :, first:].contiguous()

    def _media_of_every_step(self) -> dict[str, torch.Tensor]:
        """Media come with the prompt only, except where they reach every token of their row."""
        if self.core.gated_prompts.reach != "row":
            return {}
        media = batch_media([row.prepared[1] for row in self.rows])
        if media and "media_mask" not in media:
            counts = torch.tensor([len(row.prepared[1]) for row in self.rows], device=self._mask.device)
            places = torch.arange(media["media_embeddings"].shape[1], device=self._mask.device)
            media["media_mask"] = places < counts[:, None]  # (B, M)
        return media


def _full_layers(cache: DynamicCache) -> list[Any]:
    """The layers of a cache, each with ``keys`` and ``values``: one made without a configuration has no other kind."""
    return list(cache.layers)


def _padded(tensor: torch.Tensor, width: int) -> torch.Tensor:
    """A mask (B, S), or keys or values (B, H, S, head width), with S padded to ``width`` on the left."""
    missing = width - tensor.shape[1 if tensor.ndim == 2 else 2]
    return functional.pad(tensor, (missing, 0) if tensor.ndim == 2 else (0, 0, missing, 0))
