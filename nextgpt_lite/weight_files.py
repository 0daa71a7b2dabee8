"""Weights in files and in models: read without running code, copied with every key checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file

from data.strict import sentence


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
    return read_archive(path)[0]


def read_archive(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """As :func:`read_tensors`, mapped into memory where the file allows it, and what stands beside "model"."""
    try:
        if path.suffix == ".safetensors":
            values = load_file(path)
        else:
            values = torch.load(path, "cpu", weights_only=True, mmap=is_zipfile(path))
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path} cannot be read as weights: it holds more than tensors, and nothing else is ever unpickled"
        ) from error
    except Exception as error:  # whatever a damaged file makes the unpickler raise
        raise CheckpointError(f"{path} cannot be read as weights: {sentence(error)}") from error
    beside: dict[str, Any] = {}
    if isinstance(values, dict) and isinstance(values.get("model"), dict):
        beside = {str(name): value for name, value in values.items() if name != "model"}
        values = values["model"]
    if not isinstance(values, dict) or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return values, beside


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
        check_floats(name, value, where)
    for name, value in given.items():
        own[name].copy_(value)


def check_floats(name: str, value: torch.Tensor, where: str | Path) -> None:
    """CheckpointError unless a tensor holds finite floating numbers."""
    if not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        raise CheckpointError(f"{where}: {name!r} is of type {kind}, expected floating numbers")
    if not bool(value.isfinite().all()):
        raise CheckpointError(f"{where}: {name!r} holds values that are not finite, expected numbers")
