"""How many CPU threads a model is run on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from nextgpt_lite.any_to_any import AnyToAny

#: Parameters of the core below which handing work to a second thread costs more than the thread saves.
SMALL = 50_000_000
#: What torch found fit before anything was changed.
ALL = torch.get_num_threads()


def set_num_threads(model: AnyToAny) -> AnyToAny:
    """``model``; this thread of Python computes on one thread where it is small and on the CPU, else on all.

    OMP_NUM_THREADS goes before. A larger model beside a small one has an engine, and so a setting, of its own.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        small = sum(parameter.numel() for parameter in model.core.parameters()) < SMALL
        torch.set_num_threads(1 if small and model.device.type == "cpu" else ALL)
    return model
