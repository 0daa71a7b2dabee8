"""Shifted sparse attention (S2-Attn, LongLoRA 2309.12307, Sec. 3.2): training on long rows at the price of short ones.

A row is cut into groups and attention stays inside them. Half of the heads see groups that are shifted by half a group,
so that what one half learns the other carries over the border. ``split`` cuts the shifted heads at ``[0, g/2)
[g/2, 3g/2) ... rest`` and is strictly causal; ``wrap`` rolls them, so that their last group holds the tail and the head
of the row: its first g/2 positions see the row's end. ``wrap`` is there to compare with published results, and so is
``unshifted``: all heads see the same groups, and nothing crosses a border (the paper's Table 1).

It serves training only. Evaluation and generation are dense: :mod:`adapters.attention` sees to it.

Positions beyond those of pretraining go through transformers' own ``rope_parameters``: ``linear`` is position
interpolation (LongLoRA; 2306.15595, Eq. 4); ``yarn`` (2309.00071) and ``dynamic`` (NTK-aware, by the length at hand)
are the usual alternatives. ``max_position_embeddings`` keeps the meaning that transformers gives it: the pretraining
length under linear and dynamic scaling, the extended one under YaRN.

Endless rows have a cache of their own (:mod:`adapters.attention_sinks`).

Shapes: B batch, S tokens in the cache, T tokens of a row, H heads, h heads of one half, d head width.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import PretrainedConfig

FORMS = ("split", "wrap", "unshifted")
SCALINGS = ("linear", "yarn", "dynamic")


def context_length(config: PretrainedConfig) -> int:
    """Positions that a language model's configuration provides for, its scaling included."""
    parameters = _parameters(config)
    if parameters["rope_type"] in ("linear", "dynamic"):
        return round(config.max_position_embeddings * parameters["factor"])
    return config.max_position_embeddings


def scale_positions(config: PretrainedConfig, length: int, scaling: str = "linear") -> None:
    """Make ``config`` provide for ``length`` positions, in place; a length that it has already changes nothing.

    The factor is whole, ``ceil(length / present length)``, times the factor that the model was trained with. Load or
    build the model with the changed configuration: its frequencies are made then. ValueError for an unknown scaling
    and for a model that is scaled in another way already.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"unknown scaling {scaling!r} of positions: expected one of {', '.join(SCALINGS)}")
    parameters, present = _parameters(config), context_length(config)
    if parameters["rope_type"] not in ("default", scaling):
        raise ValueError(f"positions are scaled as {parameters['rope_type']!r} already and cannot become {scaling!r}")
    if length <= present:
        return
    parameters["factor"] = float(parameters.get("factor", 1.0) * math.ceil(length / present))
    parameters["rope_type"] = scaling
    if scaling == "yarn":
        original = parameters.setdefault("original_max_position_embeddings", config.max_position_embeddings)
        config.max_position_embeddings = round(original * parameters["factor"])


def positions_of(config: PretrainedConfig) -> dict[str, Any]:
    """What :func:`scale_positions` may have changed, to be stored beside an adapter."""
    return {name: getattr(config, name) for name in ("rope_parameters", "max_position_embeddings")}


def _parameters(config: PretrainedConfig) -> dict[str, Any]:
    """Rotary settings of the layers that see the whole row; others (sliding windows) need no scaling."""
    parameters = getattr(config, "rope_parameters", None)
    if not parameters:
        raise ValueError(f"a {config.model_type!r} model has no rope_parameters: its positions cannot be scaled")
    return parameters.get("full_attention", parameters)


@dataclass(frozen=True)
class ShiftedBatch:
    """What one forward pass hands to every layer, as the keyword ``shifted_attention``.

    ``order`` and ``shifted_order`` (B, T) say which token stands where when a half of the heads is cut into groups
    of ``group``; None = as it is. ``first`` is the length of the shifted heads' first group.
    """

    group: int
    first: int
    order: torch.Tensor | None
    shifted_order: torch.Tensor | None


@dataclass(frozen=True)
class ShiftedAttention:
    """How a model trains on long rows.

    Args:
        form: ``split``, ``wrap`` or ``unshifted``.
        group: a whole number of tokens, or a share of the (padded) row's length; the paper's is a quarter.
    """

    form: str = "split"
    group: int | float = 0.25

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"unknown form {self.form!r} of shifted attention: expected one of {', '.join(FORMS)}")
        fits = self.group >= 1 if isinstance(self.group, int) else 0 < self.group <= 1
        if isinstance(self.group, bool) or not fits:
            raise ValueError(f"group must be a number of tokens from 1 or a share in (0, 1], not {self.group!r}")

    def batch(self, length: int, real: torch.Tensor | None = None) -> ShiftedBatch:
        """Rows of ``length`` tokens; ``real`` (B, T) is 1 at tokens and 0 at padding, wherever it stands.

        Groups are counted over a row's real tokens: padding moves no border, and no real token sees any. Padding
        behind all tokens costs nothing; other rows are brought into that order and back.
        """
        group = self.group if isinstance(self.group, int) else max(1, int(length * self.group))
        order = None if real is None else _tokens_first(real.bool())
        if self.form == "split":
            return ShiftedBatch(group, group // 2, order, order)
        if self.form == "unshifted":
            return ShiftedBatch(group, group, order, order)
        return ShiftedBatch(group, group, order, _rolled(length, real, order, group // 2))


def shifted_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    batch: ShiftedBatch,
    scaling: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Query (B, H, T, d), key and value (B, KV heads, T, d), after rotary embedding -> (B, T, H, d).

    The shifted half is heads H/2 to H after key and value are repeated to H heads. What padding gets is finite and
    means nothing.
    """
    heads = query.shape[1]
    halves = zip(*(_halves(states, heads) for states in (query, key, value)), strict=True)
    cuts = ((batch.group, batch.order), (batch.first, batch.shifted_order))
    outputs = []
    for states, (first, order) in zip(halves, cuts, strict=True):
        if order is not None:
            states = [_reordered(x, order, dim=2) for x in states]
        mixed = _causal_groups(*states, first, batch.group, scaling, dropout)  # (B, T, h, d)
        outputs.append(mixed if order is None else _reordered(mixed, order.argsort(1), dim=1))
    return torch.cat(outputs, dim=2)


def _tokens_first(real: torch.Tensor) -> torch.Tensor | None:
    """Places (B, T) that bring each row's real tokens to its front; None where they all stand there already."""
    if bool((real[:, 1:] <= real[:, :-1]).all()):
        return None
    return (~real).to(torch.uint8).argsort(dim=1, stable=True)


def _rolled(length: int, real: torch.Tensor | None, order: torch.Tensor | None, shift: int) -> torch.Tensor:
    """Places (B or 1, T) of each row's real tokens rolled forward by ``shift``, padding behind them."""
    if real is None:
        return torch.arange(length).roll(-shift)[None]
    place = torch.arange(length, device=real.device)[None]
    tokens = real.bool().sum(1, keepdim=True)  # (B, 1)
    rolled = torch.where(place < tokens, (place + shift) % tokens.clamp_min(1), place)
    return rolled if order is None else order.gather(1, rolled)


def _halves(states: torch.Tensor, heads: int) -> tuple[torch.Tensor, ...]:
    """(B, H or KV heads, T, d) -> the straight half and the shifted half.

    Key and value heads are repeated only where their number has no half: grouped queries are left to SDPA.
    """
    if heads % 2 or states.shape[1] % 2:
        states = states.repeat_interleave(heads // states.shape[1], dim=1)
    middle = states.shape[1] // 2
    return states.split([middle, states.shape[1] - middle], dim=1)


def _reordered(states: torch.Tensor, order: torch.Tensor, dim: int) -> torch.Tensor:
    """Tokens of ``states``, along ``dim``, at the places (B or 1, T)."""
    shape = [1] * states.ndim
    shape[0], shape[dim] = order.shape
    return states.gather(dim, order.to(states.device).view(shape).expand_as(states))


def _causal_groups(query, key, value, first: int, group: int, scaling: float | None, dropout: float) -> torch.Tensor:
    """Causal attention inside [0, first) [first, first + group) ... rest: (B, h, T, d) -> (B, T, h, d)."""
    runs = _runs(query.shape[2], first, group)
    # `split` rather than slices: its backward pass writes each gradient once.
    pieces = zip(
        *(states.split([n * width for n, width in runs], dim=2) for states in (query, key, value)), strict=True
    )
    outputs = []
    for (count, _), states in zip(runs, pieces, strict=True):
        rows = [x.unflatten(2, (count, -1)).transpose(1, 2).flatten(0, 1) for x in states]  # (B * count, h, width, d)
        grouped = rows[0].shape[1] != rows[1].shape[1]
        mixed = functional.scaled_dot_product_attention(
            *rows, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        outputs.append(mixed.transpose(1, 2).unflatten(0, (-1, count)).flatten(1, 2))  # (B, count * width, h, d)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def _runs(length: int, first: int, group: int) -> list[tuple[int, int]]:
    """Runs of equal groups, (count, width), that cover ``length`` tokens: the first group, the whole ones, the rest."""
    lead = min(first % group, length)
    whole, rest = divmod(length - lead, group)
    return [(count, width) for count, width in ((1, lead), (whole, group), (1, rest)) if count and width]
