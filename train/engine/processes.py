"""One process or several: what all agree on; and models whose parameters FSDP2 shards over them.

A checkpoint holds whole tensors, under the names and in the order that they have in one process: it can be resumed by
any number of processes, with shards or without.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import psutil
import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin, broadcast_object_list, gather_object
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from train.settings import RecipeError

T = TypeVar("T")

#: How long processes wait for each other. The main one may embed a whole data set before the others may start.
PATIENCE = timedelta(hours=12)


def join_processes() -> PartialState:
    """Join the others where ``accelerate launch`` started several, and end with the launcher; alone otherwise."""
    if "LOCAL_RANK" in os.environ:
        Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def _end_with(parent: int) -> None:
    """End this process as soon as it has another parent: the launcher was killed and could not end it itself.

    Where that was before this process looked, its parent is the first process, which is a launcher in a container only.
    """
    launchers = ("python", "accelerate", "torchrun")
    orphan = parent == 1 and not psutil.Process(1).name().startswith(launchers)
    while os.getppid() == parent and not orphan:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def on_main_process(work: Callable[[], T]) -> T:
    """What ``work`` gives in the main process, in all of them. A RecipeError of it is raised in all of them."""
    if PartialState().num_processes == 1:
        return work()
    found: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            found[0] = work()
        except RecipeError as error:
            found[1] = error
    broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return found[0]


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


def is_requested(engine: str) -> bool:
    """Whether ``accelerate launch`` is to use "FSDP" or "DEEPSPEED"."""
    return os.environ.get(f"ACCELERATE_USE_{engine}", "").lower() == "true"


def shard_on_cpu(accelerator: Accelerator) -> None:
    """Have ``accelerate`` shard where the processes have CPUs alone: FSDP2 can, accelerate asks for a GPU."""
    if is_requested("FSDP") and accelerator.distributed_type == DistributedType.MULTI_CPU:
        plugin = FullyShardedDataParallelPlugin()  # reads what the launcher said
        if accelerator.mixed_precision != "no":
            plugin.set_mixed_precision(accelerator.mixed_precision)
        accelerator.state.fsdp_plugin = plugin
        accelerator.state.distributed_type = DistributedType.FSDP


def is_sharded(model: nn.Module) -> bool:
    """Whether this process holds shards of the model's parameters."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor. Of one that is sharded every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A whole tensor, which every process has, sharded as ``other`` is."""
    if not isinstance(other, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def with_all_reduced(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """A loss with a share of nothing in every parameter that its batch leaves out here, but another process's does not.

    FSDP reduces the gradients that there are: processes whose batches hold other modalities would reduce other ones.
    Called after the forward pass, when what is not in a layer (the root's) is whole. Every process must call it.
    """
    trained = [p for p in model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    used = _leaves(loss)
    counts = sum_over_processes([float(id(parameter) in used) for parameter in trained], loss.device)
    for parameter, count in zip(trained, counts, strict=True):
        if count and id(parameter) not in used:
            loss = loss + 0.0 * parameter.sum()
    return loss


def _leaves(loss: torch.Tensor) -> set[int]:
    """Identities of the tensors that a loss was computed from."""
    found, seen, waiting = set(), set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.add(id(getattr(node, "variable", None)))
        waiting += [following for following, _ in node.next_functions]
    return found


def whole_tensors(tensors: Mapping[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """Whole tensors on the CPU, packed; {} unless ``keep``. Every process must call it."""
    gathered = ((name, whole(value.detach())) for name, value in tensors.items())
    return {name: value.cpu().contiguous() for name, value in gathered if keep}  # each is gathered, kept or not


def whole_optimiser_state(optimiser: torch.optim.Optimizer, keep: bool) -> dict[str, Any]:
    """The state that one process would have, on the CPU; {} unless ``keep``. Every process must call it."""
    state = optimiser.state_dict()
    gathered = {}
    for number, values in state["state"].items():
        own = {name: whole(value) if torch.is_tensor(value) else value for name, value in values.items()}
        if keep:
            gathered[number] = {name: v.cpu() if torch.is_tensor(v) else v for name, v in own.items()}
    return {"state": gathered, "param_groups": state["param_groups"]} if keep else {}


def load_whole_optimiser_state(optimiser: torch.optim.Optimizer, path: Path) -> None:
    """Give the optimiser of a sharded model the state of one of a whole model."""
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, values in state["state"].items():
        parameter = parameters[number]
        for name, value in values.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                values[name] = sharded_like(value, parameter)
    optimiser.load_state_dict(state)
