"""Golden cases: what a reference implementation gave for recorded weights and inputs, and how ours is held against it.

A case is a json (system, configuration, meaning of its tensors) with a safetensors file beside it. Cases lie in
``tests/golden/<system>/`` or a folder in it, or in the folder of the same layout that the environment variable
``NEXTGPT_GOLDEN`` names.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER_VARIABLE = "NEXTGPT_GOLDEN"


class Comparison(NamedTuple):
    """One value of a case. ``tolerance`` is relative to the largest absolute reference value; 0 means equal."""

    name: str
    ours: torch.Tensor
    reference: torch.Tensor
    tolerance: float


@dataclass(frozen=True)
class Case:
    """One json under the golden folder and the tensors beside it, which are read when first asked for."""

    path: Path
    system: str
    record: dict[str, Any]

    @property
    def name(self) -> str:
        return self.record.get("case", self.path.stem)

    @property
    def config(self) -> dict[str, Any]:
        return self.record.get("config", {})

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors of the case's own file, by their full keys; none where there is no file."""
        file = self.path.with_suffix(".safetensors")
        return load_file(file) if file.is_file() else {}

    def group(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors whose keys begin with ``prefix`` ("weights/", "inputs/", "outputs/", "grads/"), prefix cut off."""
        return _cut(self.tensors, prefix)

    def weights(self) -> dict[str, torch.Tensor]:
        """The case's weights: its own, on top of those of the file that ``weights_from`` names."""
        source = self.record.get("weights_from")
        if source is None:
            return self.group("weights/")
        borrowed = _cut(load_file(self.path.parent / source["file"]), "weights/")
        parts, names = source.get("drop_if_name_contains", []), source.get("drop_names", [])
        kept = {n: w for n, w in borrowed.items() if n not in names and not any(part in n for part in parts)}
        return kept | self.group("weights/")


def find_cases() -> list[Case]:
    """Every ``<system>/**/<case>.json`` of the golden folder. Raises ValueError where there is none."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or GOLDEN)
    paths = sorted(folder.glob("*/**/*.json"))
    if not paths:
        raise ValueError(f"no golden cases: expected <system>/<case>.json under {folder}")
    return [_read(path, system=path.relative_to(folder).parts[0]) for path in paths]


def helper(case: Case) -> str | None:
    """What a json holds that is no case but serves cases, or None; told by its content.

    ``weights``: weights that other cases point to. ``keys``: a table of a state dict, key -> [shape, dtype].
    ``errors``: inputs on which the reference itself raises, so that nothing can be compared.
    """
    entries = list(case.record.values())
    if entries and all(isinstance(e, list) and len(e) == 2 and isinstance(e[1], str) for e in entries):
        return "keys"
    listed = case.record.get("cases")
    if isinstance(listed, dict) and listed and all("error" in entry for entry in listed.values()):
        return "errors"
    shapes = case.record.get("shapes") or case.tensors
    return "weights" if shapes and all(key.startswith("weights/") for key in shapes) else None


def gradient_of(tensor: torch.Tensor) -> torch.Tensor:
    """The gradient that a backward pass left; AssertionError where it left none."""
    assert tensor.grad is not None, f"no gradient for a tensor of shape {tuple(tensor.shape)}"
    return tensor.grad


def faults(comparisons: list[Comparison]) -> list[str]:
    """A line for each comparison that does not hold."""
    return [line for comparison in comparisons if (line := _fault(comparison))]


def _fault(comparison: Comparison) -> str | None:
    name, ours, reference, tolerance = comparison
    if ours.shape != reference.shape:
        return f"{name}: shape {tuple(ours.shape)}, the reference has {tuple(reference.shape)}"
    if tolerance == 0:
        wrong = int((ours != reference).sum())
        return f"{name}: {wrong} of {ours.numel()} values differ" if wrong else None
    ours, reference = ours.detach().double(), reference.double()
    distance = (ours - reference).masked_fill(ours == reference, 0.0).abs()  # equal infinities are equal
    finite = reference[reference.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    error = float(distance.max()) / (scale or 1.0) if distance.numel() else 0.0
    # Written so that NaN is a fault.
    return None if error <= tolerance else f"{name}: {error:.2e} of the largest value {scale:.3g}, allowed {tolerance}"


def _read(path: Path, system: str) -> Case:
    record = json.loads(path.read_text(encoding="utf-8"))
    return Case(path, record.get("system", system), record)


def _cut(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
