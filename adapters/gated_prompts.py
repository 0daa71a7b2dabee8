"""Gated prompts: one module for LLaMA-Adapter V1, V2's early fusion and ImageBind-LLM.

Every adapted layer has prompts. They pass through the layer's own frozen k/v projections, get a softmax of
their own (or none), are multiplied by ``tanh(gate)`` with a gate that starts at zero, and are added to the
text attention before ``o_proj``. Static prompts are LLaMA-Adapter V1 (2303.16199, Sec. 3.2); a medium's
prompt in every layer without keys is ImageBind-LLM (2309.03905, Sec. 3.2).

Shapes: B batch, T tokens of this forward pass, M media of a row, K prompts, H heads, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

INJECTIONS = ("attention", "words")
REACHES = ("placeholders", "row")


@dataclass
class PromptBatch:
    """What one forward pass hands to every adapted layer.

    ``media`` (B, M, D) are bind-network outputs, ``visibility`` (B, T, M) says which token sees which medium.
    Rows with fewer media are padded with anything: what no token sees has no effect. ``any_visible`` is
    computed once, so that decoding steps which see no medium skip the term.
    """

    prompts: GatedPrompts
    media: torch.Tensor | None
    visibility: torch.Tensor | None

    def __post_init__(self) -> None:
        if (self.media is None) != (self.visibility is None):
            raise ValueError("media and visibility must be given together")
        self.any_visible = self.visibility is not None and bool(self.visibility.any())


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
        injection: how media enter a layer: "attention", by its gated prompts (ImageBind-LLM as released), or "words",
            added to the word tokens before the layer (2309.03905, Eq. 2; see :mod:`adapters.word_injection`).
        reach: who sees a medium: its "placeholders", or every token of its "row" (ImageBind-LLM).
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
    ) -> None:
        super().__init__()
        _check_choice("injection", injection, INJECTIONS)
        _check_choice("reach", reach, REACHES)
        self.injection, self.reach = injection, reach
        self.layers, self.media_tokens, self.static_tokens, self.keys = layers, media_tokens, static_tokens, keys
        self.media_layers = layers if media_layers is None else media_layers
        self.static_layers = static_layers
        if not 0 <= self.media_layers <= layers or not 0 <= static_layers <= layers:
            raise ValueError(f"media_layers {media_layers} and static_layers {static_layers} must lie in 0..{layers}")
        self.first_media_layer = layers - self.media_layers if media_last else 0
        if media_tokens and injection == "words":
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, 1))
        elif media_tokens:
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, heads))
            self.layer_query = nn.Parameter(torch.randn(self.media_layers, media_tokens, width) * 0.02)
        if static_tokens and static_layers:
            self.static_gate = nn.Parameter(torch.zeros(static_layers, heads))
            self.static_prompt = nn.Parameter(torch.randn(static_layers, static_tokens, width))

    def has_static(self, layer: int) -> bool:
        return bool(self.static_tokens) and layer >= self.layers - self.static_layers

    def has_media(self, layer: int) -> bool:
        return bool(self.media_tokens) and 0 <= layer - self.first_media_layer < self.media_layers

    def media_prompts(self, layer: int, media: torch.Tensor) -> torch.Tensor:
        """Media (B, M, D) -> prompts of the layer (B, M * media_tokens, D)."""
        return (media[:, :, None] + self.layer_query[layer - self.first_media_layer].to(media)).flatten(1, 2)

    def static_prompts(self, layer: int) -> torch.Tensor:
        """The layer's own prompts (1, static_tokens, D)."""
        return self.static_prompt[layer - self.layers + self.static_layers][None]


def _check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}: expected {' or '.join(allowed)}")


def prompt_attention(
    attention: nn.Module, query: torch.Tensor, batch: PromptBatch, scaling: float
) -> torch.Tensor | None:
    """The gated term of one layer (B, T, H, head width), or None where the layer sees no prompt.

    ``attention`` is the layer's attention module (its ``k_proj``/``v_proj`` and ``layer_idx`` are used),
    ``query`` (B, H, T, head width) after rotary embedding, as the registered function receives it.
    """
    prompts, layer = batch.prompts, attention.layer_idx
    total = None
    if prompts.has_static(layer):
        static = prompts.static_prompts(layer).to(query.dtype)
        gate = prompts.static_gate[layer - prompts.layers + prompts.static_layers]
        total = _gated_term(attention, query, static, gate, None, scaling, keys=True)
    if batch.any_visible and prompts.injection == "attention" and prompts.has_media(layer):
        media = prompts.media_prompts(layer, batch.media).to(query.dtype)
        gate = prompts.media_gate[layer - prompts.first_media_layer]
        visible = batch.visibility.repeat_interleave(prompts.media_tokens, dim=2)  # (B, T, M * tokens)
        term = _gated_term(attention, query, media, gate, visible, scaling, prompts.keys)
        total = term if total is None else total + term
    return total


def _gated_term(attention, query, prompts, gate, visible, scaling: float, keys: bool) -> torch.Tensor:
    batch, heads, _, head_width = query.shape
    value = _project(attention.v_proj, prompts, heads, head_width)  # (B or 1, H, K, head width)
    if keys:
        key = _project(attention.k_proj, prompts, heads, head_width)
        scores = (query @ key.transpose(2, 3)) * scaling  # (B, H, T, K)
    else:
        scores = query.new_zeros(batch, 1, query.shape[2], prompts.shape[1])
    weights = _softmax_over_visible(scores, visible)
    mixed = (weights @ value).transpose(1, 2)  # (B, T, H, head width)
    return mixed * torch.tanh(gate).to(mixed)[:, None]


def _softmax_over_visible(scores: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    """Softmax over K in float32; a token that sees no prompt gets exactly zero everywhere."""
    if visible is None:
        return torch.softmax(scores.float(), dim=-1).to(scores.dtype)
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
