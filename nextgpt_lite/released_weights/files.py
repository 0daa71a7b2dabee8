"""The files of published weights: found in folders or named one by one, read as tensors alone, checked key for key."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """Weights of a file, or of several: where they are from, and what stands beside them in a pickle.

    ``former`` has the beginnings of names that :meth:`renamed` replaced, new -> old, for sentences.
    """

    where: str
    tensors: Tensors
    beside: dict[str, Any] = field(default_factory=dict)
    former: tuple[dict[str, str], ...] = ()

    def part(self, *prefixes: str) -> Tensors:
        """Those whose names begin with one of ``prefixes``, under their whole names."""
        return {name: value for name, value in self.tensors.items() if name.startswith(prefixes)}

    def renamed(self, names: Mapping[str, str]) -> "Published":
        """With the beginnings of names replaced, where they are there. CheckpointError where two become one."""
        tensors: Tensors = {}
        former: dict[str, str] = {}
        for name, value in self.tensors.items():
            new, old = _replaced(name, names)
            if new in tensors:
                raise CheckpointError(f"{self.where} holds {new!r} twice, once as {name!r}")
            tensors[new] = value
            former |= {names[old]: old} if old else {}
        return replace(self, tensors=tensors, former=(*self.former, former))

    def in_file(self, name: str) -> str:
        """What the file calls what is called ``name`` here."""
        for former in reversed(self.former):
            name, _ = _replaced(name, former)
        return name

    def check(self, expected: Mapping[str, Any], needs: str) -> None:
        """CheckpointError, by the file's names, unless there are exactly the names and shapes ``expected``, of finite
        floats.

        An expected shape may be a tuple or a list of tuples that will do. ``needs`` says who expects it.
        """
        shapes = {self.in_file(name): shape for name, shape in expected.items()}
        given = {self.in_file(name): value for name, value in self.tensors.items()}
        _check_names(given, shapes, self.where, needs)
        for name, value in given.items():
            allowed = shapes[name] if isinstance(shapes[name], list) else [shapes[name]]
            if tuple(value.shape) not in allowed:
                found, wanted = tuple(value.shape), " or ".join(map(str, allowed))
                raise CheckpointError(f"{self.where}: {name!r} has shape {found}, expected {wanted}, {needs}")
            check_floats(name, value, self.where)


def _replaced(name: str, beginnings: Mapping[str, str]) -> tuple[str, str]:
    """A name with the first of the beginnings that it has replaced, and that beginning; "" where it has none."""
    old = next((each for each in beginnings if name.startswith(each)), "")
    return beginnings.get(old, "") + name.removeprefix(old), old


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


def _check_names(given: Mapping[str, Any], expected: Mapping[str, Any], where: str, needs: str) -> None:
    """CheckpointError for a name that is missing or unknown, with the nearest that there is."""
    unknown = [name for name in given if name not in expected]
    for name in expected:
        if name not in given:
            close = difflib.get_close_matches(name, unknown, n=1)
            instead = f"; it has the unknown key {close[0]!r}" if close else ""
            raise CheckpointError(f"{where} lacks the key {name!r}, {needs}{instead}")
    for name in unknown:
        close = difflib.get_close_matches(name, expected, n=1)
        what = f"the nearest of those expected is {close[0]!r}" if close else "it is none of those expected"
        raise CheckpointError(f"{where} has the unknown key {name!r}: {what}, {needs}")


def shape_of(published: Published, name: str, axes: int, needs: str) -> tuple[int, ...]:
    """The shape of a tensor from which other sizes follow. CheckpointError where it is missing or of other axes."""
    where, theirs = published.where, published.in_file(name)
    if name not in published.tensors:
        raise CheckpointError(f"{where} lacks the key {theirs!r}: {needs}")
    shape = tuple(published.tensors[name].shape)
    if len(shape) != axes or 0 in shape:
        raise CheckpointError(f"{where}: {theirs!r} has shape {shape}, expected {axes} axes: {needs}")
    return shape
