"""What a decoding engine needs of a Llama-shaped language model: its weights, LoRA and biases taken in, by layer.

:mod:`nextgpt_lite.decoding.modules` reads them from a model of transformers, :mod:`nextgpt_lite.decoding.quick_core`
from files.

Small models get copies in which the projections of one input are one matrix and LoRA is merged: one product in the
place of up to nine. Of larger ones no copy is made; LoRA then stays apart, as two thin matrices.

Shapes: O outputs, I inputs, R rank of LoRA, D model width.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from adapters.long_context import context_length

#: Scalings of positions under which a token's rotation does not depend on the length of its row.
FIXED_POSITIONS = ("default", "linear", "yarn", "llama3")
ATTENTION_IN, FEED_IN = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")
#: Numbers in a language model's layers up to which copies of its weights are made.
COPIED = 50_000_000


@dataclass(frozen=True)
class Linear:
    """weight (O, I) x + bias (O,) + up (O, R) down (R, I) x; all but the weight may be None.

    ``half`` is the same weight in half precision, where it was read so.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    down: torch.Tensor | None = None
    up: torch.Tensor | None = None
    half: torch.Tensor | None = None

    def merged(self) -> "Linear":
        """The same with LoRA in the weight."""
        if self.down is None or self.up is None:
            return self
        return Linear(self.weight + self.up @ self.down, self.bias)

    def rows(self, count: int) -> "Linear":
        """The same with the first ``count`` outputs."""
        cut = {name: getattr(self, name) for name in ("weight", "bias", "up", "half")}
        return replace(self, **{name: value if value is None else value[:count] for name, value in cut.items()})

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(x, self.weight, self.bias)
        if self.down is not None and self.up is not None:
            y = y + functional.linear(functional.linear(x, self.down), self.up)
        return y


class Group(tuple[Linear, ...]):
    """Linears of one input, whose outputs are put one behind the other."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self[0](x) if len(self) == 1 else torch.cat([linear(x) for linear in self], dim=-1)

    def fused(self) -> "Group":
        """The same as one linear, LoRA merged."""
        merged = [linear.merged() for linear in self]
        bias = None
        if any(linear.bias is not None for linear in merged):
            zero = merged[0].weight.new_zeros
            bias = torch.cat([zero(len(each.weight)) if each.bias is None else each.bias for each in merged])
        return Group([Linear(torch.cat([linear.weight for linear in merged]), bias)])


@dataclass(frozen=True)
class LayerWeights:
    """A decoder layer. ``module`` is its attention, by which gated prompts are projected."""

    module: Any
    attention_in: Group
    attention_out: Group
    feed_in: Group
    feed_out: Group
    attention_norm: torch.Tensor
    feed_norm: torch.Tensor
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None

    @property
    def groups(self) -> tuple[Group, Group, Group, Group]:
        return self.attention_in, self.attention_out, self.feed_in, self.feed_out


def computes_as_llama(config: Any) -> bool:
    """Whether the engine knows activation, window and positions of a language model's configuration."""
    window, positions = getattr(config, "sliding_window", None), config.rope_parameters.get("rope_type", "default")
    return (
        config.hidden_act == "silu"
        and (not window or window >= context_length(config))
        and (positions in FIXED_POSITIONS)
    )


def fused_layers(layers: list[LayerWeights]) -> list[LayerWeights]:
    """The same in copies with fewer products, where the layers are small enough; else as they are."""
    if sum(linear.weight.numel() for layer in layers for group in layer.groups for linear in group) > COPIED:
        return layers
    names = "attention_in", "attention_out", "feed_in", "feed_out"
    return [
        replace(layer, **{name: group.fused() for name, group in zip(names, layer.groups, strict=True)})
        for layer in layers
    ]
