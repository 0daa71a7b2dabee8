"""How many CPU threads a model is run on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from nextgpt_lite.any_to_any import AnyToAny

#: Parameters of the core below which handing work to a second thread costs more than the thread saves.
SMALL = 50_000_000


def suit_threads(model: AnyToAny) -> AnyToAny:
    """``model``; torch has one thread from now on where it is small and on the CPU. OMP_NUM_THREADS goes before."""
    small = sum(parameter.numel() for parameter in model.core.parameters()) < SMALL
    if small and model.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return model
