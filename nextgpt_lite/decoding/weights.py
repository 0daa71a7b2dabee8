"""What a decoding engine needs of a Llama-shaped language model: its weights, LoRA and biases taken in, by layer.

Small models get copies in which the projections of one input are one matrix and LoRA is merged: one product in the
place of up to nine. Of larger ones no copy is made; LoRA then stays apart, as two thin matrices.

Shapes: O outputs, I inputs, R rank of LoRA, D model width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from adapters.imagebind_llm import decoder_layers
from adapters.llama_adapter_v2 import TunedLinear
from adapters.long_context import context_length

#: Models that compute as Llama does, but for biases and norms of heads.
KNOWN = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
#: Scalings of positions under which a token's rotation does not depend on the length of its row.
FIXED_POSITIONS = ("default", "linear", "yarn", "llama3")
#: Numbers in a language model's layers up to which copies of its weights are made.
COPIED = 50_000_000
ATTENTION_IN, FEED_IN = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")


@dataclass(frozen=True)
class Linear:
    """weight (O, I) x + bias (O,) + up (O, R) down (R, I) x; all but the weight may be None."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    down: torch.Tensor | None = None
    up: torch.Tensor | None = None

    def merged(self) -> "Linear":
        """The same with LoRA in the weight."""
        if self.down is None or self.up is None:
            return self
        return Linear(self.weight + self.up @ self.down, self.bias)

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


def is_llama_shaped(model: PreTrainedModel) -> bool:
    """Whether the engine computes what this language model computes: its class, numbers, positions and linears."""
    config: Any = model.config
    window = getattr(config, "sliding_window", None)
    if type(model) not in KNOWN or config.hidden_act != "silu" or (window and window < context_length(config)):
        return False
    if config.rope_parameters.get("rope_type", "default") not in FIXED_POSITIONS or model.training:
        return False
    linears = [module for layer in decoder_layers(model) for module in _projections(layer)]
    weights = list(model.parameters())
    ends = type(model.get_input_embeddings()), type(model.get_output_embeddings())
    plain = all(type(each.data) is torch.Tensor and each.dtype == torch.float32 for each in weights)
    plain = plain and all(map(_is_plain, linears)) and ends == (nn.Embedding, nn.Linear)
    return plain and len({each.device for each in weights}) == 1


def read_layers(model: PreTrainedModel) -> list[LayerWeights]:
    """The layers of a model that :func:`is_llama_shaped`, as they are."""
    return [_read_layer(layer) for layer in decoder_layers(model)]


def fused_layers(layers: list[LayerWeights]) -> list[LayerWeights]:
    """The same in copies with fewer products, where the layers are small enough; else as they are."""
    if sum(linear.weight.numel() for layer in layers for group in layer.groups for linear in group) > COPIED:
        return layers
    names = "attention_in", "attention_out", "feed_in", "feed_out"
    return [
        replace(layer, **{name: group.fused() for name, group in zip(names, layer.groups, strict=True)})
        for layer in layers
    ]


def _read_layer(layer: Any) -> LayerWeights:
    attention, feed = layer.self_attn, layer.mlp

    def group(module: nn.Module, names: Sequence[str]) -> Group:
        return Group([_read_linear(getattr(module, name)) for name in names])

    norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    return LayerWeights(
        attention,
        group(attention, ATTENTION_IN),
        group(attention, ["o_proj"]),
        group(feed, FEED_IN),
        group(feed, ["down_proj"]),
        layer.input_layernorm.weight.detach(),
        layer.post_attention_layernorm.weight.detach(),
        *(None if norm is None else norm.weight.detach() for norm in norms),
    )


def _projections(layer: Any) -> list[nn.Module]:
    attention = [getattr(layer.self_attn, name) for name in (*ATTENTION_IN, "o_proj")]
    return [*attention, *(getattr(layer.mlp, name) for name in (*FEED_IN, "down_proj"))]


def _is_plain(linear: nn.Module) -> bool:
    """Whether a linear is torch's own, perhaps tuned, perhaps with one LoRA around it that is in use."""
    if isinstance(linear, LoraLinear):
        used = len(linear.active_adapters) == 1 and not linear.disable_adapters and not linear.merged
        name = linear.active_adapters[0] if used else ""
        plain = not linear.lora_variant and not linear.lora_bias.get(name)
        return used and plain and name in linear.lora_A and _is_plain(linear.get_base_layer())
    return type(linear) in (nn.Linear, TunedLinear)


@torch.no_grad()
def _read_linear(linear: Any) -> Linear:
    if isinstance(linear, LoraLinear):
        lora: Any = linear
        name, base = lora.active_adapters[0], _read_linear(lora.get_base_layer())
        up = lora.lora_B[name].weight.detach() * lora.scaling[name]
        return Linear(base.weight, base.bias, lora.lora_A[name].weight.detach(), up)
    plain: nn.Linear = linear.folded() if isinstance(linear, TunedLinear) else linear
    return Linear(plain.weight.detach(), None if plain.bias is None else plain.bias.detach())
