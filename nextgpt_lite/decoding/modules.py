"""The weights of Llama-shaped language models of transformers, for :mod:`nextgpt_lite.decoding.llama`."""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from adapters.imagebind_llm import decoder_layers
from adapters.llama_adapter_v2 import TunedLinear
from nextgpt_lite.decoding.weights import ATTENTION_IN, FEED_IN, Group, LayerWeights, Linear, computes_as_llama

#: Models that compute as Llama does, but for biases and norms of heads.
KNOWN = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)


def is_llama_shaped(model: PreTrainedModel) -> bool:
    """Whether the engine computes what this language model computes: its class, numbers, positions and linears."""
    if type(model) not in KNOWN or not computes_as_llama(model.config) or model.training:
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
