"""Components of a model folder: loaded where a task builds on one, written when it has trained one."""

import copy
import hashlib
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn

from data.atomic import atomic_folder

Module = TypeVar("Module", bound=nn.Module)


def load_component(kind: type[Module], folder: Path, name: str, recipe: str) -> Module:
    """The component that ``recipe`` exported into ``folder``, in full precision.

    ``kind`` has ``from_pretrained``. ValueError, which says what to train first, where there is none.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"no {name} in {folder}: train the recipe {recipe} first")
    loader: Any = kind
    component: Any = loader.from_pretrained(folder, dtype=torch.float32)
    if hasattr(component, "register_to_config"):  # of Diffusers
        component.register_to_config(_name_or_path="")  # what is exported names no folder of this machine
    return component


def frozen(module: Module) -> Module:
    """The module in evaluation mode, its parameters without gradients."""
    return module.eval().requires_grad_(False)


def channels_last(module: Module) -> Module:
    """The module with its images' weights in the memory format in which convolutions are fastest on a CPU."""
    return cast(Module, nn.Module.to(module, memory_format=torch.channels_last))


def half_copy(module: Module) -> Module:
    """A copy in half precision, as components are stored."""
    return copy.deepcopy(module).half()


def write_component(component: Any, folder: Path) -> None:
    """Put what ``component.save_pretrained`` writes in the place of ``folder``, atomically."""
    with atomic_folder(folder) as temporary:
        component.save_pretrained(temporary)


def weights_hash(module: nn.Module) -> str:
    """Short hash of a module's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]
