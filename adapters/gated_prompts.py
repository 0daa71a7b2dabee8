"""Gated prompts: one module for LLaMA-Adapter V1 and V2, their early fusion, and ImageBind-LLM.

Every adapted layer has prompts. They pass through the layer's own frozen k/v projections, get a softmax of
their own (or none), are multiplied by ``tanh(gate)`` with a gate that starts at zero, and are added to the
text attention before ``o_proj``. Static prompts are LLaMA-Adapter V1 (2303.16199, Sec. 3.2); media prompts in
the first layers, apart from the static ones in the last, are V2's early fusion (2304.15010, Sec. 3.3); media
added to the static prompts are what V2's released code does instead; a medium's prompt in every layer without
keys is ImageBind-LLM (2309.03905, Sec. 3.2).

Shapes: B batch, T tokens of this forward pass, M media of a row, K prompts, H heads, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

INJECTIONS = ("attention", "words")
REACHES = ("placeholders", "row")
#: What the projections of one layer's prompts are filed under: kind of prompt and number of the layer.
ProjectionStore = dict[tuple[str, int], tuple[torch.Tensor | None, torch.Tensor]]


@dataclass
class PromptBatch:
    """What one forward pass hands to every adapted layer.

    ``media`` are prompts of the media, (B, M, D) or, where a medium brings K tokens of its own, (B, M, K, D).
    ``visibility`` (B, T, M) says which token sees which medium, (B, 1, M) for all tokens alike. Rows with fewer
    media are padded with anything finite: what no token sees has no effect. ``any_visible`` and ``all_visible`` are
    computed once, so that decoding steps which see no medium skip the term and others need no mask. ``projections``
    keeps what the frozen k/v projections make of the prompts between the steps of one generation, where neither
    weights nor media change.
    """

    prompts: GatedPrompts
    media: torch.Tensor | None
    visibility: torch.Tensor | None
    projections: ProjectionStore | None = None

    def __post_init__(self) -> None:
        if (self.media is None) != (self.visibility is None):
            raise ValueError("media and visibility must be given together")
        if self.media is not None:
            self.prompts.check_media(self.media)
        seen = self.visibility
        self.any_visible = seen is not None and bool(seen.any())
        self.all_visible = seen is not None and self.any_visible and bool(seen.all())

    def visible_prompts(self, kind: str) -> torch.Tensor | None:
        """Which token sees which prompt (B, T, K); None = every token sees all."""
        seen = self.visibility
        if seen is None or kind == "static" or (kind == "media" and self.all_visible):
            return None
        if kind == "media":
            return seen.repeat_interleave(self.prompts.media_tokens, dim=2)
        alone = ~seen.any(2, keepdim=True)  # who sees no medium sees the static prompts as they are
        return torch.cat([alone, seen], dim=2).repeat_interleave(self.prompts.static_tokens, dim=2)


class GatedPrompts(nn.Module):
    """Gates, per-layer queries and static prompts of all adapted layers.

    Args:
        layers: number of layers of the language model.
        heads: query heads of a layer.
        width: model width D.
        media_tokens: prompts that one medium gives to a layer (1 in ImageBind-LLM, 0 = no media prompts).
        media_layers: how many layers, counted from the first, see media (V2's early fusion: a few; else all).
        static_tokens: V1's learnable prompts in a layer (10 in the paper, 0 = none).
        static_layers: how many layers, counted from the last, have static prompts.
        keys: whether media prompts compete by attention scores; without keys all visible ones weigh the same.
        media_last: count ``media_layers`` from the last layer instead, as ImageBind-LLM's code does.
        injection: how media enter a layer: "attention", by its gated prompts, or "words", added to the word tokens
            before the layer (2309.03905, Eq. 2): these prompts then hold the gates and nothing else.
        reach: who sees a medium: its "placeholders", or every token of its "row" (V2, ImageBind-LLM).
        media_added: V2 as released: a medium's ``static_tokens`` tokens are added to the static prompts of the
            last layers; there are no media prompts apart from them (``media_tokens`` 0).
        gate_scale: one more factor a layer on the static term, as in V2's released LoRA weights (``new_gate``).
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        width: int,
        media_tokens: int = 1,
        media_layers: int | None = None,
        static_tokens: int = 0,
        static_layers: int = 0,
        keys: bool = False,
        media_last: bool = False,
        injection: str = "attention",
        reach: str = "placeholders",
        media_added: bool = False,
        gate_scale: bool = False,
    ) -> None:
        super().__init__()
        _check_choice("injection", injection, INJECTIONS)
        _check_choice("reach", reach, REACHES)
        self.injection, self.reach = injection, reach
        self.layers, self.media_tokens, self.static_tokens, self.keys = layers, media_tokens, static_tokens, keys
        self.media_layers = layers if media_layers is None else media_layers
        self.static_layers, self.media_added = static_layers, media_added
        if not 0 <= self.media_layers <= layers or not 0 <= static_layers <= layers:
            raise ValueError(f"media_layers {media_layers} and static_layers {static_layers} must lie in 0..{layers}")
        if media_added and (media_tokens or not static_tokens or not static_layers):
            raise ValueError(
                f"media_added needs static prompts to add to and no media prompts: media_tokens {media_tokens} must "
                f"be 0, static_tokens {static_tokens} and static_layers {static_layers} at least 1"
            )
        self.first_media_layer = layers - self.media_layers if media_last else 0
        if media_tokens and injection == "words":
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, 1))
        elif media_tokens:
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, heads))
            self.layer_query = nn.Parameter(torch.randn(self.media_layers, media_tokens, width) * 0.02)
        if static_tokens and static_layers:
            self.static_gate = nn.Parameter(torch.zeros(static_layers, heads))
            self.static_prompt = nn.Parameter(torch.randn(static_layers, static_tokens, width))
            self.static_gate_scale = nn.Parameter(torch.ones(static_layers)) if gate_scale else None

    @property
    def reads_media(self) -> bool:
        """Whether any layer has prompts that come from media."""
        return bool(self.media_tokens) or self.media_added

    def has_static(self, layer: int) -> bool:
        return bool(self.static_tokens) and layer >= self.layers - self.static_layers

    def has_media(self, layer: int) -> bool:
        return bool(self.media_tokens) and 0 <= layer - self.first_media_layer < self.media_layers

    def check_media(self, media: torch.Tensor) -> None:
        """ValueError when media bring another number of tokens than the layers have places for."""
        expected = self.static_tokens if self.media_added else self.media_tokens
        if expected and media.ndim == 4 and media.shape[2] != expected:
            raise ValueError(f"a medium brings {media.shape[2]} tokens, the gated prompts expect {expected}")

    def kinds_of(self, layer: int, media_visible: bool) -> list[str]:
        """What the layer sees: "static" prompts or these with media "added", "media" prompts of their own."""
        kinds = ["added" if self.media_added and media_visible else "static"] if self.has_static(layer) else []
        in_attention = media_visible and self.injection == "attention" and self.has_media(layer)
        return [*kinds, "media"] if in_attention else kinds

    def prompts_of(self, kind: str, layer: int, media: torch.Tensor | None) -> torch.Tensor:
        """The prompts of a layer (B, K, D), or (1, K, D) where they are the same for all rows."""
        if kind == "static" or media is None:
            return self.static_prompts(layer)
        return self.media_prompts(layer, media) if kind == "media" else self.added_prompts(layer, media)

    def media_prompts(self, layer: int, media: torch.Tensor) -> torch.Tensor:
        """Media (B, M, D) or (B, M, media_tokens, D) -> prompts of the layer (B, M * media_tokens, D)."""
        tokens = media if media.ndim == 4 else media[:, :, None]
        return (tokens + self.layer_query[layer - self.first_media_layer].to(media)).flatten(1, 2)

    def static_prompts(self, layer: int) -> torch.Tensor:
        """The layer's own prompts (1, static_tokens, D)."""
        return self.static_prompt[self._static_place(layer)][None]

    def added_prompts(self, layer: int, media: torch.Tensor) -> torch.Tensor:
        """The static prompts, then once more for each medium with its tokens added: (B, (M + 1) * K, D)."""
        tokens = media if media.ndim == 4 else media[:, :, None]
        static = self.static_prompts(layer)[:, None].to(media)  # (1, 1, K, D)
        alone = static.expand(media.shape[0], -1, -1, -1)
        return torch.cat([alone, static + tokens], dim=1).flatten(1, 2)

    def gate_of(self, kind: str, layer: int) -> torch.Tensor:
        """What each head's term is multiplied by (H,)."""
        if kind == "media":
            return torch.tanh(self.media_gate[layer - self.first_media_layer])
        place = self._static_place(layer)
        gate = torch.tanh(self.static_gate[place])
        return gate if self.static_gate_scale is None else gate * self.static_gate_scale[place]

    def _static_place(self, layer: int) -> int:
        return layer - self.layers + self.static_layers


def _check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}: expected {' or '.join(allowed)}")


def prompt_attention(attention: Any, query: torch.Tensor, batch: PromptBatch, scaling: float) -> torch.Tensor | None:
    """The gated term of one layer (B, T, H, head width), or None where the layer sees no prompt.

    ``attention`` is the layer's attention module (its ``k_proj``/``v_proj`` and ``layer_idx`` are used),
    ``query`` (B, H, T, head width) after rotary embedding, as the registered function receives it.
    """
    total = None
    for kind in batch.prompts.kinds_of(attention.layer_idx, batch.any_visible):
        key, value = _projected(kind, attention, query, batch, scaling)
        term = _mixed(query, key, value, batch.visible_prompts(kind))
        total = term if total is None else total + term
    return total


def _projected(
    kind: str, attention: Any, query: torch.Tensor, batch: PromptBatch, scaling: float
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Keys times ``scaling`` (None without keys) and values times their gate, both (B or 1, H, K, head width)."""
    prompts, place, store = batch.prompts, (kind, attention.layer_idx), batch.projections
    if store is not None and place in store:
        return store[place]
    _, heads, _, head_width = query.shape
    given = prompts.prompts_of(kind, attention.layer_idx, batch.media).to(query.dtype)
    gate = prompts.gate_of(kind, attention.layer_idx)
    value = _project(attention.v_proj, given, heads, head_width)
    value = value * gate.to(value)[:, None, None]
    has_keys = kind != "media" or prompts.keys
    key = _project(attention.k_proj, given, heads, head_width) * scaling if has_keys else None
    if store is not None:
        store[place] = key, value
    return key, value


def _mixed(
    query: torch.Tensor, key: torch.Tensor | None, value: torch.Tensor, visible: torch.Tensor | None
) -> torch.Tensor:
    """Gated values (B or 1, H, K, head width) as each token weighs them: (B, T, H, head width)."""
    if key is None:
        scores = query.new_zeros(query.shape[0], 1, query.shape[2], value.shape[2])
    else:
        scores = query @ key.transpose(2, 3)  # (B, H, T, K)
    return (_softmax_over_visible(scores, visible) @ value).transpose(1, 2)


def _softmax_over_visible(scores: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    """Softmax over K in float32; a token that sees no prompt gets exactly zero everywhere."""
    if visible is None:
        return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
    hidden = ~visible[:, None]  # (B, 1, T, K)
    weights = torch.softmax(scores.float().masked_fill(hidden, torch.finfo(torch.float32).min), dim=-1)
    return weights.masked_fill(hidden, 0.0).to(scores.dtype)


def _project(projection: nn.Module, prompts: torch.Tensor, heads: int, head_width: int) -> torch.Tensor:
    """(B, K, D) through a frozen k or v projection, without LoRA, repeated to all query heads."""
    frozen = getattr(projection, "base_layer", projection)
    projected = frozen(prompts)
    kv_heads = projected.shape[-1] // head_width
    projected = projected.view(*prompts.shape[:2], kv_heads, head_width).transpose(1, 2)
    return projected.repeat_interleave(heads // kv_heads, dim=1) if kv_heads != heads else projected
