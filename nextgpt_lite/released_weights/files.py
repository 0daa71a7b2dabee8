"""The files of published weights: found in folders or named one by one, read as tensors alone, checked key for key."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nextgpt_lite.weight_files import CheckpointError, check_floats, read_archive

Tensors = dict[str, torch.Tensor]
#: What a tensor of each published name must look like.
Shapes = dict[str, tuple[int, ...]]
WEIGHTS = (".pth", ".pt", ".bin", ".safetensors")


@dataclass(frozen=True)
class Published:
    """Weights of a file, or of several: where they are from, and what stands beside them in a pickle."""

    where: str
    tensors: Tensors
    beside: dict[str, Any] = field(default_factory=dict)

    def part(self, *prefixes: str) -> Tensors:
        """Those whose names begin with one of ``prefixes``, under their whole names."""
        return {name: value for name, value in self.tensors.items() if name.startswith(prefixes)}

    def renamed(self, names: Mapping[str, str]) -> "Published":
        """With the beginnings of names replaced, where they are there."""
        tensors: Tensors = {}
        for name, value in self.tensors.items():
            old = next((each for each in names if name.startswith(each)), "")
            new = names.get(old, "") + name.removeprefix(old)
            if new in tensors:
                raise CheckpointError(f"{self.where} holds {new!r} twice, once as {name!r}")
            tensors[new] = value
        return Published(self.where, tensors, self.beside)


def list_files(sources: Sequence[Path]) -> list[Path]:
    """The sources, and in place of a folder its files. CheckpointError for what is not there."""
    files: list[Path] = []
    for source in sources:
        if not source.exists():
            raise CheckpointError(f"there is nothing at {source}: expected a file of weights or a folder with them")
        inside = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
        files += [path for path in inside if path not in files]
    return files


def weight_files(sources: Sequence[Path], skip: Collection[str] = ()) -> list[Path]:
    """Those of the files that hold weights, but for names in ``skip``. CheckpointError where there is none."""
    found = [path for path in list_files(sources) if path.suffix in WEIGHTS and path.name not in skip]
    if not found:
        places = ", ".join(map(str, sources))
        raise CheckpointError(f"{places}: no file of weights, expected one that ends in {', '.join(WEIGHTS)}")
    return found


def named_file(sources: Sequence[Path], *names: str, required: bool = True) -> Path | None:
    """The file of one of the ``names``. CheckpointError where it is missing and ``required``, and for a second one."""
    found = [path for path in list_files(sources) if path.name in names]
    if len(found) > 1:
        raise CheckpointError(f"{found[0]} and {found[1]} are both given: expected one of them")
    if required and not found:
        raise CheckpointError(f"{', '.join(map(str, sources))}: there is no {' or '.join(names)}")
    return found[0] if found else None


def read_file(path: Path) -> Published:
    """The weights of a file. CheckpointError for anything but tensors."""
    tensors, beside = read_archive(path)
    return Published(str(path), tensors, beside)


def only_file(sources: Sequence[Path], skip: Collection[str] = ()) -> Path:
    """The one file of weights among the sources. CheckpointError where there are others."""
    found = weight_files(sources, skip)
    if len(found) > 1:
        raise CheckpointError(f"{found[0]} and {found[1]} both hold weights: expected one file")
    return found[0]


def check_tensors(given: Mapping[str, torch.Tensor], expected: Mapping[str, Any], where: str, needs: str) -> None:
    """CheckpointError unless ``given`` has exactly the names and shapes ``expected``, of floats that are finite.

    An expected shape may be a tuple or a list of tuples that will do. ``needs`` says who expects it.
    """
    unknown = [name for name in given if name not in expected]
    missing = [name for name in expected if name not in given]
    if missing:
        close = difflib.get_close_matches(missing[0], unknown, n=1)
        instead = f"; it has the unknown key {close[0]!r}" if close else ""
        raise CheckpointError(f"{where} lacks the key {missing[0]!r}, {needs}{instead}")
    if unknown:
        close = difflib.get_close_matches(unknown[0], expected, n=1)
        what = f"the nearest of those expected is {close[0]!r}" if close else f"it is none of those that {needs}"
        raise CheckpointError(f"{where} has the unknown key {unknown[0]!r}: {what}")
    for name, value in given.items():
        shapes = expected[name] if isinstance(expected[name], list) else [expected[name]]
        if tuple(value.shape) not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise CheckpointError(f"{where}: {name!r} has shape {tuple(value.shape)}, expected {wanted}: {needs}")
        check_floats(name, value, where)


def shape_of(published: Published, name: str, axes: int, needs: str) -> tuple[int, ...]:
    """The shape of a tensor from which other sizes follow. CheckpointError where it is missing or of other axes."""
    if name not in published.tensors:
        raise CheckpointError(f"{published.where} lacks the key {name!r}: {needs}")
    shape = tuple(published.tensors[name].shape)
    if len(shape) != axes or 0 in shape:
        raise CheckpointError(f"{published.where}: {name!r} has shape {shape}, expected {axes} axes: {needs}")
    return shape
