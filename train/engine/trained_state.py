"""What a checkpoint holds of a model: what training changes. The rest is built again and known by its identity."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from train.engine.identity import frozen_tensors
from train.engine.processes import local, sharded_like
from train.recipe import RecipeError


class TrainedState:
    """The trained parameters of a model, the buffers beside them, and other buffers as soon as they have changed.

    Make it when the parts that are not trained have been frozen, before any step. ``stored`` are beginnings of names
    of frozen parameters that are held as well.
    """

    def __init__(self, model: nn.Module, stored: tuple[str, ...] = ()) -> None:
        frozen = dict(frozen_tensors(model))
        tensors = dict(model.named_parameters()) | _stored_buffers(model)
        self.names = {name for name in tensors if name not in frozen or name.startswith(stored)}
        self._at_start = {name: value.clone() for name, value in _stored_buffers(model).items() if name in frozen}

    def select(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Those of a model's tensors by name that are to be stored."""
        changed = {
            name for name, value in self._at_start.items()
            if name in tensors and not torch.equal(value, tensors[name].to(value.device))
        }  # fmt: skip
        return {name: value for name, value in tensors.items() if name in self.names | changed}

    @torch.no_grad()
    def load(self, model: nn.Module, path: Path) -> None:
        """Give a model, sharded or not, what :meth:`select` gave, or a whole state. RecipeError for one of another."""
        stored, own = load_file(path), model.state_dict()
        places = {local(own[name]).data_ptr() for name in stored if name in own}  # of tied weights one name is stored
        wrong = [name for name, value in stored.items() if name not in own or own[name].shape != value.shape]
        wrong += [name for name in self.names if local(own[name]).data_ptr() not in places]
        if wrong:
            raise RecipeError(f"{path} does not fit this model: {len(wrong)} tensors differ, the first is {wrong[0]!r}")
        for name, value in stored.items():
            local(own[name]).copy_(local(sharded_like(value, own[name])))


def _stored_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    stored = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in stored}
