"""LoRA in training: how the language model is tuned, and LoRA+ (2402.12354), whose B matrices learn faster than A.

Alpha follows the rank unless a recipe says otherwise: in the scaling study of LLaVA (2309.09958, Table 2) LoRA at
learning rate 1e-4 with alpha = 2 r comes within 0.1 points of full tuning at 2e-5, at 2e-5 with alpha 16 it loses six.

LongLoRA calls something else LoRA+, trainable embeddings and norms beside LoRA: :mod:`train.stages.context_extension`.
"""

from typing import Any

from torch import nn

from train.settings import RecipeError

#: Layers that LoRA lies on: of the attention, or all linear ones.
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
#: How the language model is tuned; qlora: the base in 4 bits.
TUNINGS = ("lora", "qlora", "full")


def lora_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of peft.LoraConfig; where ``lora_alpha`` is left out it is twice the rank."""
    return {"lora_alpha": 2 * settings["r"], **settings}


def with_faster_b(groups: list[dict[str, Any]], model: nn.Module, ratio: float) -> list[dict[str, Any]]:
    """Optimiser groups in which LoRA's B matrices have a group of their own, at ``ratio`` times the rate.

    ``ratio`` 1 leaves the groups as they are. RecipeError when another is given and no B matrix is trained.
    peft.optimizers.create_loraplus_optimizer knows one learning rate for a whole model, not one for each part.
    """
    if ratio == 1.0:
        return groups
    faster = {id(p) for name, p in model.named_parameters() if ".lora_B." in name or ".lora_embedding_B." in name}
    divided = []
    for group in groups:
        slow = [p for p in group["params"] if id(p) not in faster]
        fast = [p for p in group["params"] if id(p) in faster]
        divided += [{**group, "params": slow}] if slow else []
        divided += [group | {"params": fast, "lr": group["lr"] * ratio, "name": f"{group['name']}.b"}] if fast else []
    if not any(group["name"].endswith(".b") for group in divided):
        raise RecipeError(f"lora_b_ratio is {ratio}, but no part that is trained has LoRA: expected 1")
    return divided
