"""Gated prompts: what all of a core's adapted layers see besides their words, and the attention term that it becomes.

Which prompts there are is said by the papers' own files: :mod:`adapters.llama_adapter` (V1 and V2) and
:mod:`adapters.imagebind_llm`. :class:`GatedPrompts` puts them together, :func:`prompt_attention` computes them.

Shapes: B batch, T tokens of this forward pass, M media of a row, K prompts, H heads, D model width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adapters.imagebind_llm import MediaPrompts
from adapters.llama_adapter import StaticPrompts
from data.strict import read_settings, setting

#: What the projections of one layer's prompts are stored under: kind of prompt and number of the layer.
ProjectionStore = dict[tuple[str, int], tuple[torch.Tensor | None, torch.Tensor]]


@dataclass(frozen=True)
class PromptSettings:
    """``prompts`` of a core's configuration: which layers have which prompts."""

    media_tokens: int = setting(1, low=0, help="prompts that a medium gives to a layer (1: ImageBind-LLM; 0: none)")
    media_layers: int | None = setting(None, low=0, help="how many layers, from the first, see media; null = all")
    media_last: bool = setting(False, help="count media_layers from the last layer, as ImageBind-LLM's code does")
    keys: bool = setting(False, help="media prompts compete by scores (V2); without keys all visible ones weigh alike")
    injection: str = setting("attention", choices=("attention", "words"), help="words: ImageBind-LLM's Eq. 2")
    reach: str = setting("placeholders", choices=("placeholders", "row"), help="who sees a medium")
    static_tokens: int = setting(0, low=0, help="V1's learnable prompts in a layer (10 in the paper)")
    static_layers: int = setting(0, low=0, help="how many layers, from the last, have static prompts")
    media_added: bool = setting(False, help="V2 as released: a medium's static_tokens tokens are added to these")
    gate_deviation: float = setting(0.0, low=0, help="of the gates at the start, around 0; the papers' are all 0")
    gate_scale: bool = setting(False, help="one more factor a layer on the static term, as in V2's LoRA weights")

    def __post_init__(self) -> None:
        if self.media_added and (self.media_tokens or not self.static_tokens or not self.static_layers):
            raise ValueError(
                f"media_added needs static prompts to add to and no media prompts: media_tokens {self.media_tokens} "
                f"must be 0, static_tokens {self.static_tokens} and static_layers {self.static_layers} at least 1"
            )


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

    prompts: "GatedPrompts"
    media: torch.Tensor | None
    visibility: torch.Tensor | None
    projections: ProjectionStore | None = None

    def __post_init__(self) -> None:
        if (self.media is None) != (self.visibility is None):
            raise ValueError("media and visibility must be given together")
        if self.media is not None:
            expected = self.prompts.static_tokens if self.prompts.media_added else self.prompts.media_tokens
            if expected and self.media.ndim == 4 and self.media.shape[2] != expected:
                found = self.media.shape[2]
                raise ValueError(f"a medium brings {found} tokens, the gated prompts expect {expected}")
        seen = self.visibility
        self.any_visible = seen is not None and bool(seen.any())
        self.all_visible = seen is not None and self.any_visible and bool(seen.all())


@dataclass(frozen=True)
class PromptTerm:
    """One gated term of a layer: ``prompts`` (B or 1, K, D), ``gate`` (H,), ``visible`` (B, T, K) or None = all."""

    kind: str
    prompts: Callable[[], torch.Tensor]
    gate: Callable[[], torch.Tensor]
    visible: torch.Tensor | None
    keys: bool = True


class GatedPrompts(StaticPrompts, MediaPrompts):
    """Gates, per-layer queries and static prompts of all adapted layers.

    Args:
        layers: number of layers of the language model.
        heads: query heads of a layer.
        width: model width D.
        settings: those of :class:`PromptSettings`. SettingsError (a ValueError) for unknown ones and wrong values.
    """

    def __init__(self, layers: int, heads: int, width: int, **settings: Any) -> None:
        super().__init__()
        chosen = read_settings(PromptSettings, settings, "prompts")
        self.layers, self.reach, self.keys, self.media_added = layers, chosen.reach, chosen.keys, chosen.media_added
        self.injection, self.media_tokens = chosen.injection, chosen.media_tokens
        self.media_layers = layers if chosen.media_layers is None else chosen.media_layers
        self.static_tokens, self.static_layers = chosen.static_tokens, chosen.static_layers
        if self.media_layers > layers or self.static_layers > layers:
            given = f"media_layers {chosen.media_layers} and static_layers {chosen.static_layers}"
            raise ValueError(f"prompts: {given} must lie in 0..{layers}")
        self.first_media_layer = layers - self.media_layers if chosen.media_last else 0
        self.add_media_prompts(heads, width)
        self.add_static_prompts(heads, width, chosen.gate_scale)
        if chosen.gate_deviation:
            for name in ("media_gate", "static_gate"):
                if hasattr(self, name):
                    nn.init.normal_(getattr(self, name), std=chosen.gate_deviation)

    @property
    def reads_media(self) -> bool:
        """Whether any layer has prompts that come from media."""
        return bool(self.media_tokens) or self.media_added

    def terms(self, layer: int, batch: PromptBatch) -> Iterator[PromptTerm]:
        """What the layer sees: static prompts, or these with media added; and media prompts of their own."""
        media, seen = batch.media, batch.visibility if batch.any_visible else None
        if self.has_static(layer):
            kind, prompts, visible = "static", (lambda: self.static_prompts(layer)), None
            if self.media_added and media is not None and seen is not None:
                alone = ~seen.any(2, keepdim=True)  # tokens that see no medium see the static prompts as they are
                visible = torch.cat([alone, seen], dim=2).repeat_interleave(self.static_tokens, dim=2)
                kind, prompts = "added", (lambda: self.added_prompts(layer, media))
            yield PromptTerm(kind, prompts, lambda: self.static_gate_of(layer), visible)
        if media is not None and seen is not None and self.injection == "attention" and self.has_media(layer):
            visible = None if batch.all_visible else seen.repeat_interleave(self.media_tokens, dim=2)
            prompts, gate = (lambda: self.media_prompts(layer, media)), (lambda: self.media_gate_of(layer))
            yield PromptTerm("media", prompts, gate, visible, self.keys)


def prompt_attention(attention: Any, query: torch.Tensor, batch: PromptBatch, scaling: float) -> torch.Tensor | None:
    """The gated term of one layer (B, T, H, head width), or None where the layer sees no prompt.

    LLaMA-Adapter's Eq. 2 to 7: keys and values of the prompts by the layer's own projections, scores q k^T / sqrt(C),
    a softmax apart from that of the words, times tanh(g). ``attention`` is the layer's attention module (its
    ``k_proj``, ``v_proj`` and ``layer_idx`` are used), ``query`` (B, H, T, head width) after rotary embedding.
    """
    total = None
    for term in batch.prompts.terms(attention.layer_idx, batch):
        key, value = _projected(term, attention, query, batch.projections, scaling)
        mixed = _mixed(query, key, value, term.visible)
        total = mixed if total is None else total + mixed
    return total


def constant_terms(
    attention: Any, query: torch.Tensor, batch: PromptBatch, scaling: float
) -> list[tuple[torch.Tensor | None, torch.Tensor]]:
    """What :func:`prompt_attention` weighs where every token of a row sees the same of ``batch`` (1 row).

    For each term its keys, scaled, or None where all weigh alike, and its gated values, (1, H, K, head width).
    """
    found = []
    for term in batch.prompts.terms(attention.layer_idx, batch):
        key, value = _projected(term, attention, query, batch.projections, scaling)
        if term.visible is not None:
            seen = term.visible[0, 0]
            key, value = None if key is None else key[:, :, seen], value[:, :, seen]
        found.append((key, value))
    return found


def _projected(
    term: PromptTerm, attention: Any, query: torch.Tensor, store: ProjectionStore | None, scaling: float
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Keys times ``scaling`` (None without keys) and values times their gate, both (B or 1, H, K, head width)."""
    place = (term.kind, attention.layer_idx)
    if store is not None and place in store:
        return store[place]
    _, heads, _, head_width = query.shape
    prompts = term.prompts().to(query.dtype)
    value = _project(attention.v_proj, prompts, heads, head_width)
    value = value * term.gate().to(value)[:, None, None]
    key = _project(attention.k_proj, prompts, heads, head_width) * scaling if term.keys else None
    if store is not None:
        store[place] = key, value
    return key, value


def _mixed(
    query: torch.Tensor, key: torch.Tensor | None, value: torch.Tensor, visible: torch.Tensor | None
) -> torch.Tensor:
    """Gated values (B or 1, H, K, head width) as each token weighs them: (B, T, H, head width).

    The softmax over K is taken in float32; a token that sees no prompt gets exactly zero everywhere.
    """
    if key is None:
        scores = query.new_zeros(query.shape[0], 1, query.shape[2], value.shape[2])
    else:
        scores = query @ key.transpose(2, 3)  # (B, H, T, K)
    if visible is None:
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    else:
        hidden = ~visible[:, None]  # (B, 1, T, K)
        weights = torch.softmax(scores.float().masked_fill(hidden, torch.finfo(torch.float32).min), dim=-1)
        weights = weights.masked_fill(hidden, 0.0)
    return (weights.to(scores.dtype) @ value).transpose(1, 2)


def _project(projection: nn.Module, prompts: torch.Tensor, heads: int, head_width: int) -> torch.Tensor:
    """(B, K, D) through a frozen k or v projection, without LoRA, repeated to all query heads."""
    frozen = getattr(projection, "base_layer", projection)
    projected = frozen(prompts)
    kv_heads = projected.shape[-1] // head_width
    projected = projected.view(*prompts.shape[:2], kv_heads, head_width).transpose(1, 2)
    return projected.repeat_interleave(heads // kv_heads, dim=1) if kv_heads != heads else projected
