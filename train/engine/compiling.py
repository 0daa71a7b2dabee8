"""Compiling what a model repeats: its blocks, one by one, instead of the whole.

A whole model breaks into pieces at whatever depends on the data, here the places of media and signal tokens, and each
piece is compiled again for other shapes. Blocks have no such thing in them, take most of the time, and are alike.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from train.recipe import RecipeError


@contextmanager
def compiled_blocks(model: nn.Module, wanted: bool | Literal["auto"] = True) -> Iterator[int]:
    """Within it each module of every list of two or more of one class runs compiled, for any shape; how many these are.

    Names and weights stay as they are. Where there is nothing to compile with, "auto" leaves all as it is and True is
    a RecipeError.
    """
    able = torch.cuda.is_available() or has_compiler()
    if wanted is True and not able:
        raise RecipeError(
            "torch_compile must be false or auto: there is no C++ compiler (g++, clang++ or what CXX names) with "
            "Python's headers"
        )
    wanted = bool(wanted) and able
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)] if wanted else []
    blocks = [block for modules in lists for block in _repeated(modules)]
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


def _repeated(modules: nn.ModuleList) -> list[nn.Module]:
    alike = len(modules) > 1 and len({type(module) for module in modules}) == 1
    return list(modules) if alike else []
