"""Weights and targets of NExT-GPT's golden cases that are not stored: rules in their jsons make them anew."""

from __future__ import annotations

import zlib
from typing import TypeVar

import torch
from torch import nn

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def by_formula(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight of a name, as the jsons tell."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) < 2:
        return 1 + 0.2 * values if key.endswith("weight") else 0.1 * values
    return values * shape[-1] ** -0.5


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def fill(module: ModuleType, prefix: str = "", renamed: dict[str, str] | None = None) -> ModuleType:
    """Give every parameter the weight of its published name: ``prefix`` and its own, whose start may be ``renamed``."""
    for name, parameter in module.named_parameters():
        start = next((new for new in renamed or {} if name.startswith(new)), "")
        published = (renamed or {}).get(start, "") + name.removeprefix(start)
        parameter.copy_(by_formula(prefix + published, tuple(parameter.shape)))
    return module
