"""LoRA+ (2402.12354): the B matrices of LoRA learn faster than the A matrices.

Not to be confused with what LongLoRA calls LoRA+, trainable embeddings and norms beside LoRA: that is
:mod:`train.stages.context_extension`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from train.recipe import RecipeError


def with_faster_b(groups: list[dict[str, Any]], model: nn.Module, ratio: float) -> list[dict[str, Any]]:
    """Optimiser groups in which LoRA's B matrices have a group of their own, at ``ratio`` times the rate.

    ``ratio`` 1 leaves the groups as they are. RecipeError when another is given and no B matrix is trained.
    """
    if ratio == 1.0:
        return groups
    faster = {id(p) for name, p in model.named_parameters() if ".lora_B." in name or ".lora_embedding_B." in name}
    divided = []
    for group in groups:
        slow = [p for p in group["params"] if id(p) not in faster]
        fast = [p for p in group["params"] if id(p) in faster]
        if slow:
            divided.append({**group, "params": slow})
        if fast:
            divided.append({**group, "params": fast, "lr": group["lr"] * ratio, "name": f"{group['name']}.b"})
    if not any(group["name"].endswith(".b") for group in divided):
        raise RecipeError(f"lora_b_ratio is {ratio}, but no part that is trained has LoRA: expected 1")
    return divided
