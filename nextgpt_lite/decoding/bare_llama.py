"""A Llama-shaped language model as its weights alone: all that :mod:`nextgpt_lite.decoding.llama` asks of one.

It is made of tensors by the names that transformers gives them, without transformers' models, whose import takes longer
than anything else in a short chat. Nothing of it can be trained, or computed but by that engine.

Shapes: O outputs, I inputs, D model width, V vocabulary, T positions, d head width.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from nextgpt_lite.decoding.weights import ATTENTION_IN, FEED_IN, Group, LayerWeights, Linear

#: ``model_type`` of the language models that compute as Llama does, but for biases and norms of heads.
KNOWN = ("llama", "mistral", "qwen2", "qwen3")
#: Linear -> (down, up).
Lora = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class BareLlama(nn.Module):
    """See the module's docstring.

    Args:
        config: the language model's configuration.
        tensors: its weights in float32, or in half precision (then float32 copies are made beside them).
        context: of a context adapter (stage 0): linear, or embedding -> (down (R, I), up (O, R) times its scale). It is
            not merged: half precision would be lost, and with it half the speed of a step.
        lora: of the core, which prompts do not pass through: the same.
        end: ids that end a text.
    """

    def __init__(
        self,
        config: Any,
        tensors: Mapping[str, torch.Tensor],
        context: Lora,
        lora: Lora,
        end: Any,
    ) -> None:
        super().__init__()
        self.config = config
        self._tensors, self._context, self._lora = tensors, context, lora
        self._whole: dict[str, torch.Tensor] = {}
        self.layers = [self._layer(number) for number in range(config.num_hidden_layers)]
        self.norm = SimpleNamespace(weight=self._float("model.norm.weight"))
        embedding = self._linear(EMBEDDING.removesuffix(".weight")).merged().weight
        self.embedding = nn.Embedding.from_pretrained(embedding)
        head = HEAD if HEAD in tensors and not config.tie_word_embeddings else EMBEDDING
        self.head = Head(self._linear(head.removesuffix(".weight")))
        self.rotary_emb = Rotary(config)
        self.generation_config = SimpleNamespace(eos_token_id=end)
        #: All others, so that they are counted.
        others = [each for name, each in self._whole.items() if name != EMBEDDING]
        others += [each for pair in (*context.values(), *lora.values()) for each in pair]
        self.weights = nn.ParameterList(nn.Parameter(each, requires_grad=False) for each in others)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def get_output_embeddings(self) -> "Head":
        return self.head

    def get_decoder(self) -> "BareLlama":
        return self

    def _layer(self, number: int) -> LayerWeights:
        layer = f"model.layers.{number}"
        attention = f"{layer}.self_attn"

        def group(module: str, names: tuple[str, ...]) -> Group:
            return Group([self._linear(f"{module}.{name}") for name in names])

        frozen = {name: self._linear(f"{attention}.{name}", own=False) for name in ("k_proj", "v_proj")}
        return LayerWeights(
            SimpleNamespace(layer_idx=number, scaling=head_width(self.config) ** -0.5, **frozen),
            group(attention, ATTENTION_IN),
            group(attention, ("o_proj",)),
            group(f"{layer}.mlp", FEED_IN),
            group(f"{layer}.mlp", ("down_proj",)),
            self._float(f"{layer}.input_layernorm.weight"),
            self._float(f"{layer}.post_attention_layernorm.weight"),
            self._float_if_there(f"{attention}.q_norm.weight"),
            self._float_if_there(f"{attention}.k_norm.weight"),
        )

    def _linear(self, name: str, own: bool = True) -> Linear:
        """A linear with its LoRA, that of the core only where it is its ``own``."""
        weight = self._tensors[f"{name}.weight"]
        pairs = [lora[name] for lora in (self._context, self._lora if own else {}) if name in lora]
        down = torch.cat([down for down, _ in pairs]) if pairs else None
        up = torch.cat([up for _, up in pairs], dim=1) if pairs else None
        half = None if weight.dtype == torch.float32 else weight
        return Linear(self._float(f"{name}.weight"), self._float_if_there(f"{name}.bias"), down, up, half)

    def _float_if_there(self, name: str) -> torch.Tensor | None:
        return self._float(name) if name in self._tensors else None

    def _float(self, name: str) -> torch.Tensor:
        if name not in self._whole:
            self._whole[name] = self._tensors[name].float()
        return self._whole[name]


class Head:
    """The output layer: states (..., D) -> logits (..., V)."""

    def __init__(self, linear: Linear) -> None:
        self.linear, self.weight, self.bias = linear, linear.weight, linear.bias

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return self.linear(states)


class Rotary:
    """Cosine and sine (1, T, d) of positions (1, T), on halves, as transformers' Llama computes them."""

    def __init__(self, config: Any) -> None:
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        kind, width = config.rope_parameters.get("rope_type", "default"), head_width(config)
        self.scale = 1.0
        if kind == "default":
            exponents = torch.arange(0, width, 2, dtype=torch.float) / width
            self.frequencies = 1.0 / (config.rope_parameters["rope_theta"] ** exponents)
        else:
            self.frequencies, self.scale = ROPE_INIT_FUNCTIONS[kind](config)

    def __call__(self, like: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * self.scale).to(like.dtype), (angles.sin() * self.scale).to(like.dtype)


def head_width(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
