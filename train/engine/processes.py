"""One process or several: who writes, what all agree on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

#: How long processes wait for each other. The main one may embed a whole data set before the others may start.
PATIENCE = timedelta(hours=12)


def join_processes() -> PartialState:
    """Join the others where ``accelerate launch`` started several; alone otherwise."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def sum_over_processes(values: list[float], device: torch.device) -> list[float]:
    """Sums of the values of all processes. Every process must call it."""
    if PartialState().num_processes == 1:
        return values
    kind = torch.float32 if device.type == "mps" else torch.float64
    total = torch.tensor(values, dtype=kind, device=device)
    torch.distributed.all_reduce(total)
    return total.tolist()


def mean_over_processes(values: Mapping[str, float]) -> dict[str, float]:
    """Means of values by name; what a process does not have counts as 0. Every process must call it."""
    if PartialState().num_processes == 1:
        return dict(values)
    every = gather_object([dict(values)])
    names = sorted({name for own in every for name in own})
    return {name: sum(own.get(name, 0.0) for own in every) / len(every) for name in names}


def leave_processes() -> None:
    """End the process group: from here on the main process works alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
