"""What a rewarded run is held near: the state that it starts from, kept in the run's folder.

Such a run exports over the component that it started from: one that is resumed cannot read its start there any more.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from data.atomic import atomic_file

START = "start.safetensors"


def kept_start(run_dir: Path, resume: bool, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of ``state``, which a new run leaves in ``run_dir``; a resumed one reads them there."""
    path = run_dir / START
    if resume and path.is_file():
        return {name: tensor.to(state[name].device) for name, tensor in load_file(path).items()}
    found = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    if os.environ.get("RANK", "0") == "0":
        run_dir.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as aside:
            save_file(found, aside)
    return found
