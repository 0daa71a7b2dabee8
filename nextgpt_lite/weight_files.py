"""Weights in files and in models: read without running code, copied with every key checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file


class CheckpointError(ValueError):
    """A model folder or adapter that cannot be used, with a sentence that says what is wrong and what was expected."""


def require_folder(folder: Path, what: str) -> None:
    """CheckpointError unless there is a folder: libraries take the path of a missing one for the name of a download."""
    if not folder.is_dir():
        raise CheckpointError(f"there is no {what} at {folder}: expected a folder")


def refuse_code(folder: Path) -> None:
    """CheckpointError for a folder that brings code of its own, which Transformers or Diffusers would ask to run."""
    for path in sorted(folder.rglob("*.py")):
        raise CheckpointError(f"{path}: code in a model folder is never run: remove it, or use another model")
    for path in sorted(folder.rglob("*config.json")):
        try:
            found = isinstance(values := json.loads(path.read_bytes()), dict) and values.get("auto_map")
        except (ValueError, RecursionError):
            continue  # whoever needs the file says what is wrong with it
        if found:
            sentence = (
                "auto_map names code of the model's own, which is never run: remove auto_map, or use another model"
            )
            raise CheckpointError(f"{path}: {sentence}")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or of a pickle, which is read with ``weights_only``: it cannot run code.

    A pickle may hold them under "model", as those of LLaMA-Adapter V2 do. CheckpointError for any other content.
    """
    try:
        values = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path} cannot be read as weights: it holds more than tensors, and nothing else is ever unpickled"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {str(error).splitlines()[0]}") from error
    values = values.get("model", values) if isinstance(values, dict) else values
    if not isinstance(values, dict) or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return values


@torch.no_grad()
def copy_tensors(
    given: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], where: str | Path, complete: bool = True
) -> None:
    """Copy the tensors ``given`` into a model's ``own``, in place.

    CheckpointError, which begins with ``where``, names a key that is unknown, wrongly shaped, or, where the tensors are
    to be ``complete``, missing; nothing is copied then.
    """
    for name in own if complete else ():
        if name not in given:
            raise CheckpointError(f"{where} lacks the key {name!r}")
    for name, value in given.items():
        if name not in own:
            raise CheckpointError(f"{where} has the unknown key {name!r}")
        if value.shape != own[name].shape:
            found, expected = tuple(value.shape), tuple(own[name].shape)
            raise CheckpointError(f"{where}: {name!r} has shape {found}, expected {expected}")
    for name, value in given.items():
        own[name].copy_(value)
