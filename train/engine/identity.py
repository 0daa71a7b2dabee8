"""What a checkpoint knows of its data and of its base, the networks that its run reads and leaves as they are.

Both are compared when a run is resumed: a change of either would make another run of it without a word.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from glob import glob
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from data.atomic import hash_file
from train.task import Task

#: Keys of a task's settings that name files, folders or patterns of files that are learnt from.
PLACES = frozenset({"data", "path", "shards", "dataset", "texts", "files", "embeddings", "photographs"})
#: Files that list records or hold texts: known by their content, a record a line. Others are known by their sizes.
BY_CONTENT = frozenset({".jsonl", ".json", ".csv", ".tsv", ".txt"})
#: Longest file in a folder that is known by its content.
MAX_BYTES = 2**26
#: Digits of a sha256 that are kept: it tells changes apart, it keeps no one out.
DIGITS = 16

Tensors = dict[str, torch.Tensor]


def data_identity(settings: Mapping[str, Any]) -> dict[str, str]:
    """Of each place that the settings of a task name: how many records or files there are, and a hash.

    A manifest is hashed as a whole, with its number of records. A folder, archives and binary files are known by the
    names and sizes of their files, and folders by the content of their indices and texts up to 64 MiB too. Media are
    not read, which may be terabytes: one that is replaced under its own name is not noticed. Generated worlds are
    known by the settings alone.
    """
    return {place: _place_identity(place) for place in sorted(set(_places(settings)))}


def _places(value: Any, key: str = "") -> Iterator[str]:
    """Texts under the keys PLACES, at any depth, that name files that are there."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _places(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _places(inner, key)
    elif isinstance(value, str) and key in PLACES and value and glob(value):
        yield value


def _place_identity(place: str) -> str:
    path = Path(place)
    if path.is_file() and path.suffix in BY_CONTENT:
        with path.open("rb") as file:
            records = sum(bool(line.strip()) for line in file)
        return f"{records:,} records, sha256 {hash_file(path)[:DIGITS]}"
    if path.is_dir():
        files = sorted(found for found in path.rglob("*") if found.is_file())
    else:
        files = sorted(found for name in glob(place) if (found := Path(name)).is_file())
    digest, size = hashlib.sha256(), 0
    for file in files:
        length = file.stat().st_size
        small = path.is_dir() and file.suffix in BY_CONTENT and length <= MAX_BYTES
        name = file.relative_to(path) if path.is_dir() else file.name
        digest.update(f"{name} {length} {hash_file(file) if small else ''}\n".encode())
        size += length
    return f"{len(files):,} files of {size:,} bytes, sha256 {digest.hexdigest()[:DIGITS]}"


def base_identity(task: Task) -> dict[str, str]:
    """Hashes of the weights that the run reads and does not train, by part of the model or name of the network.

    Call it after the parts of the model that are not trained were frozen and before they are sharded. What
    ``task.stored`` names is in the checkpoint itself.
    """
    found: dict[str, Tensors] = defaultdict(dict)
    owners = {id(parameter): part for part, members in task.parts().items() for parameter in members}
    for name, tensor in frozen_tensors(task.model):
        if not name.startswith(task.stored):
            found[owners.get(id(tensor), name.partition(".")[0])][name] = tensor
    for attribute in task.reads:
        for name, network in _networks(attrgetter(attribute)(task), attribute):
            found[name] |= network.state_dict(keep_vars=True)
    known = {name: _tensors_hash(tensors) for name, tensors in found.items()}
    tokenizer = getattr(task, "tokenizer", None)
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        words = json.dumps([sorted(tokenizer.get_vocab().items()), tokenizer.chat_template])
        known["tokenizer"] = hashlib.sha256(words.encode()).hexdigest()[:DIGITS]
    return known


def frozen_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters that are not trained, and buffers that are stored and whose module has no trained parameter."""
    stored = model.state_dict().keys()
    for prefix, module in model.named_modules():
        own = list(module.named_parameters(prefix, recurse=False))
        yield from ((name, parameter) for name, parameter in own if not parameter.requires_grad)
        if not any(parameter.requires_grad for _, parameter in own):
            yield from ((n, buffer) for n, buffer in module.named_buffers(prefix, recurse=False) if n in stored)


def _networks(value: Any, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The networks that an attribute of a task is: one, those of a mapping, those of a decoder's pipeline."""
    if isinstance(value, nn.Module):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _networks(inner, f"{key} {name.removesuffix('s')}")
    elif hasattr(value, "pipeline"):
        for inner in value.pipeline.components.values():
            yield from _networks(inner if isinstance(inner, nn.Module) else None, name)
    elif hasattr(value, "text_encoder"):
        yield from _networks(value.text_encoder, name)


def _tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:DIGITS]


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    """Of each name whose identity is another one: what it was and what it is."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{name} (was {before.get(name, 'not there')}, is {now.get(name, 'not there')})"
