"""What makes steps faster: compiled blocks, and on a CPU the precision in which attention is fastest."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.settings import RecipeError

#: Scores of one head up to which matrix products beat fused attention on a CPU: rows of 128 tokens over themselves.
FEW_SCORES = 128 * 128


@contextmanager
def compiled_blocks(model: nn.Module, wanted: bool | Literal["auto"] = True) -> Iterator[int]:
    """Within it each module of every list of two or more of one class runs compiled, for any shape; how many these are.

    A whole model breaks into pieces at whatever depends on the data, here the places of media and signal tokens, and
    each piece is compiled again for other shapes. Blocks have no such thing in them, take most of the time, are alike.
    Names and weights stay. Where there is nothing to compile with, "auto" changes nothing and True is a RecipeError.
    """
    able = torch.cuda.is_available() or has_compiler()
    if wanted is True and not able:
        wanted_tools = "C++ compiler (g++, clang++ or what CXX names) with Python's headers"
        raise RecipeError(f"torch_compile must be false or auto: there is no {wanted_tools}")
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)] if wanted and able else []
    alike = [modules for modules in lists if len(modules) > 1 and len(set(map(type, modules))) == 1]
    blocks = [block for modules in alike for block in modules]
    for block in blocks:
        block.compile(dynamic=True)
    # A block's place in the model is part of what it computes (which have gated prompts?): it may be compiled for each.
    kept = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(kept, 8 * len(blocks))
    try:
        yield len(blocks)
    finally:
        torch._dynamo.config.recompile_limit = kept
        for block in blocks:
            block._compiled_call_impl = None  # torch has no public way back


def has_compiler() -> bool:
    """Whether torch finds what it compiles with on a CPU: a C++ compiler, and the headers of this Python."""
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    return headers and any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)


@contextmanager
def full_precision_attention() -> Iterator[None]:
    """Within it ``F.scaled_dot_product_attention`` has its softmax in float32 on a CPU, under autocast too.

    The backward pass of torch's fused attention takes over ten times longer in bfloat16 than in float32 on a CPU; it
    was a third of a training step. So attention runs in float32, except for short rows without a mask, as dialogues and
    captions are: two matrix products in autocast's precision with the softmax between them take half of that time.
    Tensors on other devices are left alone.
    """
    fused = F.scaled_dot_product_attention

    def attend(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if query.device.type != "cpu":
            return fused(query, key, value, *args, **kwargs)
        autocast = torch.is_autocast_enabled("cpu")
        few = query.shape[-2] * key.shape[-2] <= FEW_SCORES
        # The products compute the same without a mask and dropout, for as many heads of keys as of queries.
        plain = kwargs.get("attn_mask") is None and not kwargs.get("dropout_p") and query.shape[:-2] == key.shape[:-2]
        if autocast and not args and few and plain:
            return _attend_in_products(query, key, value, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return fused(query.float(), key.float(), value.float(), *args, **kwargs)

    F.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


def _attend_in_products(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool = False, scale: float | None = None, **_: Any
) -> Tensor:
    """Softmax(query key^T scale) value, of (..., T, C), (..., S, C) and (..., S, C): (..., T, C)."""
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)  # (..., T, S)
    if is_causal:
        scores = scores + torch.full(scores.shape[-2:], float("-inf"), dtype=scores.dtype, device=scores.device).triu(1)
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype) @ value
