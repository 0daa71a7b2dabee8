"""Bias tuning of LLaMA-Adapter V2 (2304.15010, Sec. 4.1): a bias and a scale on every linear, unfrozen norms.

Three forms, by where the scale is:

- "output": y = s * (W x + b), Eq. 1 of the paper;
- "input": y = W (s * x) + b, the released chat model of 65B;
- "none": y = W x + b, the released multimodal model of 7B (biases only).

All start where the base model is: s = 1 and b = 0 (or the bias that the linear had). The weight W stays frozen and
stays the same tensor under the same name, so the base model's state dict still fits. LoRA may lie around it, put on
before or after.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
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
