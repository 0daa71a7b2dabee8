"""LLaMA-Adapter V2 (2304.15010): bias tuning (Sec. 4.1) and the visual path (Sec. 4.3).

Bias tuning puts a bias and a scale on every linear and unfreezes the norms. Three forms, by where the scale is:

- "output": y = s * (W x + b), Eq. 1 of the paper;
- "input": y = W (s * x) + b, the released chat model of 65B;
- "none": y = W x + b, the released multimodal model of 7B (biases only).

All start where the base model is: s = 1 and b = 0 (or the bias that the linear had). The weight W stays frozen and
stays the same tensor under the same name, so the base model's state dict still fits. LoRA may lie around it, put on
before or after.

Shapes of the visual path: B images, N tokens of the tower (class token first), C their width, E inner width, K queries,
D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCALES = ("output", "input", "none")
#: What was published, as settings of :func:`tune`; names of linears are Llama's.
FORMS = {
    "paper": {"scale": "output"},
    "chat_65b": {"scale": "input"},
    "multimodal_7b": {"scale": "none", "targets": ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
}
#: Where a transformers configuration says that linears have biases.
BIAS_FLAGS = {
    "attention_bias": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp_bias": ("gate_proj", "up_proj", "down_proj"),
}


class TunedLinear(nn.Linear):
    """A frozen linear with a trained bias and, by ``placement``, a trained scale (see the module docstring)."""

    def __init__(self, linear: nn.Linear, placement: str) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        weight = linear.weight
        self.placement = placement
        self.weight = weight
        bias = torch.zeros(linear.out_features, dtype=weight.dtype, device=weight.device)
        self.bias = nn.Parameter(bias if linear.bias is None else linear.bias.detach().clone())
        if placement == "none":
            self.scale = None
        else:
            length = linear.out_features if placement == "output" else linear.in_features
            self.scale = nn.Parameter(torch.ones(length, dtype=weight.dtype, device=weight.device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.scale is not None and self.placement == "input":
            return super().forward(x * self.scale)
        y = super().forward(x)
        return y if self.scale is None else y * self.scale

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The plain linear that computes the same."""
        linear = nn.Linear(self.in_features, self.out_features, device=self.weight.device, dtype=self.weight.dtype)
        weight, bias = self.weight, self.bias
        if self.scale is not None and self.placement == "output":
            weight, bias = weight * self.scale[:, None], bias * self.scale
        elif self.scale is not None:
            weight = weight * self.scale
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
        return linear


def tune(model: PreTrainedModel, scale: str = "output", targets: Sequence[str] | None = None) -> None:
    """Put a bias and a scale on the linears of a causal LM, in place.

    Args:
        model: a causal LM of transformers, with LoRA or without.
        scale: one of :data:`SCALES`.
        targets: last names of the linears ("q_proj"); None = all but the output embedding.

    Raises:
        ValueError: for an unknown scale, a target that the model does not have, or a linear that is not a plain one
            (quantised weights can take LoRA, but no scale inside).
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}: expected one of {', '.join(SCALES)}")
    found = dict(_linears(model))
    wanted = set(targets) if targets is not None else {_last(name) for name in found}
    for target in sorted(wanted - {_last(name) for name in found}):
        raise ValueError(f"no linear named {target!r} in {type(model).__name__}")
    for name, linear in found.items():
        if _last(name) in wanted:
            if type(linear) is not nn.Linear:
                raise ValueError(f"{name} is a {type(linear).__name__}: bias tuning needs a plain nn.Linear")
            model.set_submodule(name, TunedLinear(linear, scale))


def tuned_parameters(model: nn.Module, norms: bool = True) -> dict[str, nn.Parameter]:
    """What bias tuning trains, by name in ``model``: biases and scales, and the parameters of all norms."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, TunedLinear):
            found[f"{name}.bias"] = module.bias
            if module.scale is not None:
                found[f"{name}.scale"] = module.scale
        elif norms and type(module).__name__.endswith("Norm"):
            found |= {f"{name}.{own}": parameter for own, parameter in module.named_parameters(recurse=False)}
    return found


def fold(model: PreTrainedModel) -> None:
    """Fold biases and scales into plain linears, in place: the model computes the same and is faster.

    LoRA around a linear stays as it is and can be merged afterwards; merging it first would put it behind the scale.
    Where the model's configuration has flags for biases they are set, and linears beside the folded ones get a bias
    of zero, so that the folded model can be saved and loaded as any other.

    Raises:
        ValueError: when nothing was tuned, or when a bias has no place in the model's configuration.
    """
    tuned = {name: module for name, module in model.named_modules() if isinstance(module, TunedLinear)}
    if not tuned:
        raise ValueError("no linear of this model is tuned")
    flags = {flag for flag, names in BIAS_FLAGS.items() if any(_last(name) in names for name in tuned)}
    places = {name for flag in flags if hasattr(model.config, flag) for name in BIAS_FLAGS[flag]}
    for name in tuned:
        if _last(name) not in places:
            raise ValueError(f"{type(model.config).__name__} has no place for the bias of {name}: it cannot be folded")
    for name, module in tuned.items():
        model.set_submodule(name, module.folded())
    for flag in flags:
        setattr(model.config, flag, True)
        for name, linear in _linears(model):
            if _last(name) in BIAS_FLAGS[flag] and linear.bias is None:
                linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))


def _linears(model: PreTrainedModel) -> Iterator[tuple[str, nn.Linear]]:
    """Linears of the blocks by name; the matrices of LoRA and the output embedding are none of them."""
    output = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not output and ".lora_" not in name:
            yield name, module


def _last(name: str) -> str:
    """Last name of a linear; LoRA calls what it wraps ``base_layer``."""
    return name.removesuffix(".base_layer").rpartition(".")[2]


class VisualPrompts(nn.Module):
    """Learned queries read the tower's tokens in a small transformer; they become the prompts of the language model.

    ``norm(linear(tokens))`` behind the queries, pre-norm blocks over both, the first K positions, and
    ``norm(linear(.))`` to the model width. The released sizes for 7B: C 768, E 768, K 10, 8 blocks of 16 heads,
    D 4096.

    Args:
        feature_width: C.
        width: D.
        tokens: K, the prompts that an image gives (20 in the paper's early fusion, 10 as released).
        inner_width: E.
        blocks, heads: of the transformer; its feed-forward is 4 E wide, its norms have eps 1e-5.
    """

    def __init__(
        self, feature_width: int, width: int, tokens: int = 10, inner_width: int = 768, blocks: int = 8, heads: int = 16
    ) -> None:
        super().__init__()
        if inner_width % heads:
            raise ValueError(f"inner_width {inner_width} must be a multiple of heads {heads}")
        self.feature_width, self.tokens = feature_width, tokens
        self.projection = nn.Linear(feature_width, inner_width)
        self.projection_norm = nn.LayerNorm(inner_width)
        self.query = nn.Parameter(torch.randn(tokens, inner_width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                inner_width, heads, 4 * inner_width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        )
        self.output = nn.Linear(inner_width, width)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Tokens of the tower (..., N, C) -> prompts (..., K, D). ValueError for another C or values not finite."""
        if features.shape[-1] != self.feature_width:
            raise ValueError(f"features of width {features.shape[-1]}: expected {self.feature_width}")
        if not torch.isfinite(features).all():
            raise ValueError("the features hold values that are not finite")
        tokens = self.projection_norm(self.projection(features.flatten(0, -3)))  # (B, N, E)
        x = torch.cat([self.query.to(tokens).expand(len(tokens), -1, -1), tokens], dim=1)  # (B, K + N, E)
        for block in self.blocks:
            x = block(x)
        prompts = self.output_norm(self.output(x[:, : self.tokens]))
        return prompts.unflatten(0, features.shape[:-2])
