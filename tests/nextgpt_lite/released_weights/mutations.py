"""What can be wrong with published files: thirty changes that fit any format, each with what the sentence must say."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nextgpt_lite.checkpoint import write_manifest
from tests.nextgpt_lite.released_weights.published import Given, Tensors, letters, random_llama, write_model

#: Changes of the weights in the main file; what is returned must be in the sentence.
Change = Callable[[Tensors], str]


def _matrix(tensors: Tensors) -> str:
    """A matrix that is not square."""
    return next(name for name, value in tensors.items() if value.ndim == 2 and value.shape[0] != value.shape[1])


def _numbered(tensors: Tensors) -> list[str]:
    return [name for name in tensors if ".layers." in name or name.startswith("layers.") or "visual_blocks" in name]


def missing(place: float) -> Change:
    def change(tensors: Tensors) -> str:
        name = list(tensors)[int(place * (len(tensors) - 1))]
        del tensors[name]
        return name.removeprefix("base_model.model.")  # which is said only where other keys of the kind have it

    return change


def renamed(tensors: Tensors) -> str:
    name = list(tensors)[len(tensors) // 2]
    tensors[name + "s"] = tensors.pop(name)
    return name


def all_renamed(tensors: Tensors) -> str:
    for name in list(tensors):
        tensors[f"module.{name}"] = tensors.pop(name)
    return "key"


def surplus(tensors: Tensors) -> str:
    tensors["nose.weight"] = torch.ones(3)
    return "key 'nose.weight'"


def surplus_layer(tensors: Tensors) -> str:
    names = _numbered(tensors)
    if not names:
        return surplus(tensors)
    number = max(int(part) for name in names for part in name.split(".") if part.isdigit() and int(part) < 9)
    for name in names:
        if f".{number}." in name or name.startswith(f"layers.{number}."):
            tensors[name.replace(f".{number}.", ".9.", 1)] = tensors[name]
    return ".9."


def missing_layer(tensors: Tensors) -> str:
    names = [name for name in _numbered(tensors) if ".1." in name] or list(tensors)[:1]
    for name in names:
        del tensors[name]
    return "key"


def other_size(make: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Rows or columns by which other shapes may be judged: then one of those is named."""

    def change(tensors: Tensors) -> str:
        name = _matrix(tensors)
        tensors[name] = make(tensors[name])
        return "has shape | rows, | are of different sizes"

    return change


def other(make: Callable[[torch.Tensor], torch.Tensor], choose: Callable[[Tensors], str] = _matrix) -> Change:
    """Another tensor under a name that the sentence must have."""

    def change(tensors: Tensors) -> str:
        name = choose(tensors)
        tensors[name] = make(tensors[name])
        return name

    return change


def _last(tensors: Tensors) -> str:
    return list(tensors)[-1]


def _with(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def make(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[-1] = value
        return changed

    return make


def swapped(tensors: Tensors) -> str:
    """Two tensors of different shapes under each other's names."""
    first = _matrix(tensors)
    second = next(name for name, value in tensors.items() if value.shape != tensors[first].shape)
    tensors[first], tensors[second] = tensors[second], tensors[first]
    return "has shape"


WEIGHTS: dict[str, Change] = {
    "the first key missing": missing(0),
    "a key in the middle missing": missing(0.5),
    "the last key missing": missing(1),
    "a layer missing": missing_layer,
    "a key renamed": renamed,
    "all keys with a prefix": all_renamed,
    "a surplus key": surplus,
    "a surplus layer": surplus_layer,
    "two keys swapped": swapped,
    "transposed": other_size(lambda value: value.T.contiguous()),
    "a column more": other_size(lambda value: torch.cat([value, value[:, :1]], 1)),
    "a column less": other_size(lambda value: value[:, :-1].contiguous()),
    "a row more": other_size(lambda value: torch.cat([value, value[:1]])),
    "a row less": other_size(lambda value: value[:-1].contiguous()),
    "another axis": other(lambda value: value[None]),
    "flat": other(lambda value: value.flatten()),
    "empty": other(lambda value: value[:0]),
    "integers": other(lambda value: value.long()),
    "integers at the end": other(lambda value: value.round().to(torch.int8), _last),
    "truth values": other(lambda value: value > 0),
    "complex numbers": other(lambda value: value.to(torch.complex64)),
    "not a number": other(_with(float("nan"))),
    "infinite": other(_with(float("-inf")), _last),
}


class Evil:
    """A pickle that would write a file."""

    def __reduce__(self):
        return open, ("ran", "w")


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


#: Changes of the main file as a whole, and of what its content is.
FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut in half": (lambda path: _cut(path, 0.5), "cannot be read as weights"),
    "cut at the end": (lambda path: _cut(path, 0.98), "cannot be read as weights"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as weights"),
    "words": (lambda path: path.write_text("not found"), "cannot be read as weights"),
    "a pickle that runs": (lambda path: path.write_bytes(pickle.dumps({"x": Evil()})), "cannot be read as weights"),
    "a list": (lambda path: torch.save([torch.ones(2)], path), "holds no state dict of tensors"),
    "settings alone": (lambda path: torch.save({"model": {"layers": 3}}, path), "holds no state dict of tensors"),
    "nothing in it": (lambda path: torch.save({}, path), "key"),
    "missing": (lambda path: os.unlink(path), ""),
}


def _language_model(given: Given, folder: Path, **changes: Any) -> Given:
    """The same files on another language model, beside the base's other parts."""
    assert given.base is not None
    rows = changes.pop("rows", None) or rows_of(given.base)
    config = _config(given.base)
    same = {name: config[name] for name in ("num_hidden_layers", "intermediate_size")}
    llama = random_llama(folder / "other", rows, **same | changes)
    parts = {name: given.base / name for name in ("encoder", "vision_tower") if (given.base / name).is_dir()}
    return replace(given, base=write_model(folder / "other_base", llama, **parts) if parts else llama)


def _config(base: Path) -> dict[str, Any]:
    place = base / "language_model" if (base / "language_model").is_dir() else base
    return json.loads((place / "config.json").read_text())


def rows_of(base: Path) -> int:
    return _config(base)["vocab_size"]


def _has_parts(given: Given) -> bool:
    return given.base is not None and (given.base / "language_model").is_dir()


def _other_tokenizer(given: Given, folder: Path) -> Given:
    """A base whose tokenizer has more tokens than its language model has rows."""
    made = _language_model(given, folder)
    assert made.base is not None
    place = made.base / "tokenizer" if _has_parts(given) else made.base
    letters(rows_of(made.base) + 3).save_pretrained(place)
    if _has_parts(given):
        write_manifest(made.base, "other")
    return made


def _same_shape(given: Given, folder: Path) -> Given:
    """A base that differs in its numbers alone."""
    assert given.base is not None
    config = _config(given.base)
    names = ("hidden_size", "num_attention_heads", "num_key_value_heads", "max_position_embeddings")
    return _language_model(given, folder, seed=11, **{name: config[name] for name in names})


#: Changes of the base; files stay as they are.
BASES: dict[str, tuple[Callable[[Given, Path], Given], str]] = {
    "another width": (lambda given, folder: _language_model(given, folder, hidden_size=32), "32"),
    "fewer layers": (lambda given, folder: _language_model(given, folder, num_hidden_layers=1), ""),
    "another vocabulary": (_other_tokenizer, "rows | norms"),
    "another of the same shape": (_same_shape, ""),
    "gone": (lambda given, folder: replace(given, base=folder / "nothing"), "nothing"),
    "none": (lambda given, folder: replace(given, base=None), "--base"),
}

#: Mutations that are tried each time; the others are behind the marker ``slow``.
QUICK = {
    "a key in the middle missing", "a key renamed", "a surplus layer", "transposed", "integers", "not a number",
    "cut in half", "a pickle that runs", "another width", "another vocabulary", "another of the same shape",
}  # fmt: skip
