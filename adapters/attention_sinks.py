"""Attention sinks (StreamingLLM, 2309.17453): endless rows see their first tokens and a window of the newest ones.

Positions are places in the cache, not in the text, so they never leave the range that the model knows.

Shapes: B batch, S tokens in the cache, d head width.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache


class StreamingCache(DynamicCache):
    """Keys and values of ``sinks`` first tokens and at most ``window`` newest ones, those of the present pass included.

    Keys are kept as they came, with the place that each had then, and turned to their present place at every use: the
    paper keeps keys from before the rotary embedding, which is the same rotation. So nothing adds up over many
    evictions. Call :meth:`make_room` before each forward pass.

    Args:
        rotary: the model's rotary embedding, ``rotary(x, positions) -> (cos, sin)``, on halves as in Llama.
        sinks: first tokens that are never dropped.
        window: how many tokens besides them.
    """

    def __init__(self, rotary: Callable, sinks: int = 4, window: int = 1020) -> None:
        if sinks < 0 or window < 1:
            raise ValueError(f"sinks must be at least 0 and window at least 1, not {sinks} and {window}")
        super().__init__()
        self.rotary, self.sinks, self.window = rotary, sinks, window
        self.place_of_arrival = torch.empty(0, dtype=torch.long)  # (S,)
        self.moved: torch.Tensor | None = None  # (S,) how far each token has moved to the front; None = none has

    def make_room(self, count: int) -> None:
        """Drop the oldest tokens behind the sinks so that ``count`` new ones fit."""
        if not 1 <= count <= self.window:
            raise ValueError(f"a pass over {count} tokens does not fit: expected 1 to {self.window}")
        dropped = max(0, len(self.place_of_arrival) + count - self.sinks - self.window)
        if dropped:
            keep = [slice(0, self.sinks), slice(self.sinks + dropped, None)]
            layer: Any  # transformers has several kinds; a DynamicCache holds keys and values
            for layer in self.layers:
                layer.keys = torch.cat([layer.keys[:, :, part] for part in keep], dim=2)
                layer.values = torch.cat([layer.values[:, :, part] for part in keep], dim=2)
            self.place_of_arrival = torch.cat([self.place_of_arrival[part] for part in keep])
        kept = len(self.place_of_arrival)
        self.place_of_arrival = torch.cat([self.place_of_arrival, torch.arange(kept, kept + count)])
        moved = self.place_of_arrival - torch.arange(kept + count)
        self.moved = moved if bool(moved.any()) else None

    def update(self, key_states, value_states, layer_idx, *args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        return (keys if self.moved is None else self._turned(keys)), values

    def _turned(self, keys: torch.Tensor) -> torch.Tensor:
        """Keys (B, KV heads, S, d), each rotated back by as many positions as it has moved."""
        assert self.moved is not None
        cosine, sine = self.rotary(keys.float(), self.moved[None].to(keys.device))  # (1, S, rotary width)
        scale = getattr(self.rotary, "attention_scaling", 1.0)  # YaRN's; the keys have it already
        width = cosine.shape[-1]
        turned, rest = keys[..., :width].float(), keys[..., width:]
        left, right = turned.chunk(2, dim=-1)
        turned = (turned * cosine[:, None] - torch.cat([-right, left], dim=-1) * sine[:, None]) / scale
        return torch.cat([turned.to(keys.dtype), rest], dim=-1)
