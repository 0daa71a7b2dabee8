"""The engine of every language model: steps by transformers' own forward pass, rows padded on the left.

Shapes: B rows, S positions of the longest row, H heads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache

from nextgpt_lite.core_parts import PromptStore
from nextgpt_lite.decoding.engine import Prepared
from nextgpt_lite.media_slots import batch_media
from nextgpt_lite.model import AnyToAnyCore


class TransformersEngine:
    """See :class:`nextgpt_lite.decoding.engine.Engine`."""

    def __init__(self, core: AnyToAnyCore) -> None:
        self.core = core
        self._prompts: list[Prepared] = []
        self._cache = DynamicCache()
        self._mask = torch.zeros(0, 0)
        self._store = PromptStore()

    def join(self, prompts: Sequence[Prepared]) -> torch.Tensor:
        ids, mask = _left_padded([prompt.ids for prompt in prompts], self.core.added_embedding.device)
        cache, media = DynamicCache(), batch_media([prompt.media for prompt in prompts])
        output = self.core(
            ids,
            None if len(prompts) == 1 else mask,
            (mask.cumsum(1) - 1).clamp_min(0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **media,
        )
        if self._prompts:
            width = max(self._mask.shape[1], mask.shape[1])
            mask = torch.cat([_padded(self._mask, width), _padded(mask, width)])
            for layer, new in zip(_layers(self._cache), _layers(cache), strict=True):
                new.keys = torch.cat([_padded(layer.keys, width), _padded(new.keys, width)])  # (B, H, S, head width)
                new.values = torch.cat([_padded(layer.values, width), _padded(new.values, width)])
        self._prompts, self._store = [*self._prompts, *prompts], PromptStore()
        self._cache, self._mask = cache, mask
        return output.logits[:, -1]

    def step(self, tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        last = torch.tensor(tokens, device=self._mask.device)[:, None]  # (B, 1)
        self._mask = functional.pad(self._mask, (0, 1), value=1)  # (B, S)
        output = self.core(
            last,
            None if bool(self._mask.all()) else self._mask,
            self._mask.sum(1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
            prompt_store=self._store,
            **self._media_of_every_step(self._prompts),
        )
        return output.last_hidden_state[:, -1], output.logits[:, -1]

    def keep(self, places: list[int]) -> None:
        """Columns that only the other rows needed go with them."""
        kept = torch.tensor(places, dtype=torch.long, device=self._mask.device)
        self._prompts, self._store = [self._prompts[place] for place in places], PromptStore()
        if not places:
            self._cache, self._mask = DynamicCache(), self._mask[:0]
            return
        mask = self._mask[kept]
        first = int(mask.any(0).int().argmax())
        self._mask = mask[:, first:]
        for layer in _layers(self._cache):
            # Copied, so that the memory of the rows that have left is freed.
            layer.keys = layer.keys[kept, :, first:].contiguous()
            layer.values = layer.values[kept, :, first:].contiguous()

    def read_behind(self, place: int, length: int, ids: list[int]) -> torch.Tensor:
        first = self._mask.shape[1] - int(self._mask[place].sum())
        cache, device = DynamicCache(), self._mask.device
        for number, layer in enumerate(_layers(self._cache)):
            own = slice(place, place + 1), slice(None), slice(first, first + length)
            cache.update(layer.keys[own], layer.values[own], number)
        positions = torch.arange(length, length + len(ids), device=device)[None]
        media, missing = self._media_of_every_step([self._prompts[place]]), torch.tensor([ids], device=device)
        output = self.core(missing, None, positions, past_key_values=cache, use_cache=True, logits_to_keep=1, **media)
        return output.last_hidden_state

    def _media_of_every_step(self, prompts: list[Prepared]) -> dict[str, torch.Tensor]:
        """Media come with the prompt only, except where every token of their row sees them."""
        if self.core.gated_prompts.reach != "row":
            return {}
        media = batch_media([prompt.media for prompt in prompts])
        if media and "media_mask" not in media:
            counts = torch.tensor([len(prompt.media) for prompt in prompts], device=self._mask.device)
            slots = torch.arange(media["media_embeddings"].shape[1], device=self._mask.device)
            media["media_mask"] = slots < counts[:, None]  # (B, M)
        return media


def _layers(cache: DynamicCache) -> list[Any]:
    """The layers of a cache, each with ``keys`` and ``values``: one made without a configuration has no other kind."""
    return list(cache.layers)


def _padded(tensor: torch.Tensor, width: int) -> torch.Tensor:
    """A mask (B, S), or keys or values (B, H, S, head width), with S padded to ``width`` on the left."""
    missing = width - tensor.shape[1 if tensor.ndim == 2 else 2]
    return functional.pad(tensor, (missing, 0) if tensor.ndim == 2 else (0, 0, missing, 0))


def _left_padded(rows: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, S)."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask
