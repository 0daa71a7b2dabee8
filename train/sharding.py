"""Models whose parameters are sharded over processes by FSDP2: whole states out of them, and back into them.

A checkpoint holds whole tensors, whatever the number of processes. Every function here is a collective call: all
processes must make it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
FROM_MAIN = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)


def shard_on_cpu(accelerator: Accelerator) -> None:
    """Have ``accelerate`` shard where the processes have CPUs alone: FSDP2 can, accelerate asks for a GPU."""
    wanted = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    if wanted and accelerator.distributed_type == DistributedType.MULTI_CPU:
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()  # reads what the launcher said
        accelerator.state.distributed_type = DistributedType.FSDP


def is_sharded(model: nn.Module) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor, of which this process may hold a shard."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A whole tensor, sharded as ``other`` is."""
    if not isinstance(other, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)


def whole_model_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer that is stored, tied ones once, on the CPU of the main process; {} elsewhere."""
    once = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    state = get_model_state_dict(model, options=WHOLE)
    return {name: value.contiguous() for name, value in state.items() if name in once}


def load_whole_model_state(model: nn.Module, path: Path, main: bool) -> None:
    """Give a sharded model what :func:`whole_model_state` gave."""
    set_model_state_dict(model, load_file(path) if main else {}, options=FROM_MAIN)


def whole_optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state by names of parameters, whole, on the CPU of the main process; {} elsewhere."""
    return get_optimizer_state_dict(model, optimiser, options=WHOLE)


def load_whole_optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer, path: Path, main: bool) -> None:
    """Give the optimiser of a sharded model what :func:`whole_optimiser_state` gave."""
    state = torch.load(path, map_location="cpu", weights_only=True) if main else {}
    set_optimizer_state_dict(model, optimiser, state, options=FROM_MAIN)
