"""Precomputed embeddings in a folder: ``index.json`` and shards of safetensors, written atomically.

    index.json                     encoder, features, data hash, text encoders, names of the shards
    media-00000.safetensors        embeddings (n, E), or patch tokens end to end (P, E) with their offsets (n + 1,)
    image-captions-00000.safetensors  conditions (n, L, C) of captions, float16

A shard's metadata names its rows: names and sizes of the files, or the captions.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from data.atomic import atomic_file
from data.strict import read_json

INDEX, FORMAT = "index.json", 1
#: Key of a shard's metadata that holds what its rows are.
METADATA = "told"


class StoreError(ValueError):
    """Embeddings that cannot be used, with a sentence that says why."""


class Place(NamedTuple):
    """Where the row of a medium or of a caption stands; ``size`` is that of the file in bytes."""

    shard: str
    row: int
    size: int = 0


class EmbeddingStore:
    """Reads a folder that ``nextgpt-lite embed`` wrote. Rows are read on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = read_index(folder)
        self._open: dict[str, Any] = {}
        self._media: dict[str, Place] = {}
        self._broken: dict[str, str] = {}
        self._captions: dict[str, dict[str, Place]] = {modality: {} for modality in self.index["captions"]}
        for shard in self.index["shards"]:
            self._read_names(shard)

    def check_encoder(self, encoder: Any, features: str) -> None:
        """StoreError unless the embeddings are of this encoder and of these features, "pooled" or "patches"."""
        for name, value in encoder_settings(encoder, features).items():
            self._check("embeddings", name, str(self.index[name]), str(value))

    def has_conditions(self, modality: str, decoder: Any) -> bool:
        """Whether captions of a modality are here. StoreError where another text encoder read them."""
        if modality not in self.index["captions"]:
            return False
        identity = text_encoder_identity(decoder)
        self._check(f"{modality} captions", "text encoder", self.index["captions"][modality], identity)
        return True

    def _check(self, what: str, name: str, found: str, expected: str) -> None:
        if found != expected:
            both = f"{name} {found[:12]}, this model's is {expected[:12]}"
            raise StoreError(f"the {what} in {self.folder} are of {both}")

    def problem(self, part: Any) -> str:
        """Why there is no embedding of a medium (train.dialogues.records.MediaFile); empty where there is one."""
        place = self._media.get(part.name)
        if part.name in self._broken:
            return self._broken[part.name]
        if place is None:
            return f"{self.folder} has no embedding of {part.name!r}: run nextgpt-lite embed on its manifest"
        size = os.stat(part.path).st_size
        if size != place.size:
            return f"{part.name!r} has {size:,} bytes, and {place.size:,} when it was embedded"
        return ""

    def medium(self, part: Any) -> torch.Tensor:
        """Embedding (E,), or patch tokens (P, E), of a medium without a problem; float32."""
        place = self._media[part.name]
        shard = self._shard(place.shard)
        rows = shard.get_slice("embeddings")
        if self.index["features"] == "pooled":
            return rows[place.row].float()
        start, end = shard.get_slice("offsets")[place.row : place.row + 2].tolist()
        return rows[start:end].float()

    def condition(self, modality: str, caption: str) -> torch.Tensor | None:
        """Condition (L, C) of a caption, float16; None where it was not embedded."""
        place = self._captions[modality].get(caption)
        return None if place is None else self._shard(place.shard).get_slice("conditions")[place.row]

    def _shard(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = safe_open(self.folder / name, "pt")
        return self._open[name]

    def _read_names(self, name: str) -> None:
        if not (self.folder / name).is_file():
            raise StoreError(f"the embeddings in {self.folder} are not finished: run nextgpt-lite embed again")
        metadata = shard_metadata(self.folder / name)
        if "captions" in metadata:
            places = {caption: Place(name, row) for row, caption in enumerate(metadata["captions"])}
            self._captions[metadata["modality"]] |= places
            return
        self._broken |= metadata["broken"]
        self._media |= {medium: Place(name, row, size) for row, (medium, size) in enumerate(metadata["media"])}


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a folder. StoreError where there is none of this format."""
    path = folder / INDEX
    try:
        index = read_json(path)
    except ValueError as error:
        raise StoreError(f"{folder} holds no embeddings: {error}") from error
    if index.get("format") != FORMAT:
        raise StoreError(f"{path} has format {index.get('format')!r}, not {FORMAT}")
    return index


def write_media_shard(
    path: Path, media: Sequence[tuple[str, int]], embeddings: Sequence[torch.Tensor], broken: dict[str, str]
) -> None:
    """Embeddings (E,) each, or patch tokens (P, E) each, of media given by name and size; atomic."""
    tensors = {"embeddings": torch.zeros(0, 0)}
    if embeddings and embeddings[0].ndim == 1:
        tensors = {"embeddings": torch.stack(list(embeddings))}
    elif embeddings:
        lengths = torch.tensor([0, *(len(tokens) for tokens in embeddings)])
        tensors = {"embeddings": torch.cat(list(embeddings)), "offsets": lengths.cumsum(0)}
    write_shard(path, tensors, {"media": list(media), "broken": broken})


def write_shard(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """A shard and what its rows are; atomic."""
    with atomic_file(path) as temporary:
        contiguous = {name: value.contiguous() for name, value in tensors.items()}
        save_file(contiguous, temporary, {METADATA: json.dumps(metadata)})


def shard_metadata(path: Path) -> dict[str, Any]:
    """What the rows of a shard are."""
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {})[METADATA])


def encoder_settings(encoder: Any, features: str) -> dict[str, Any]:
    """What embeddings depend on besides the media."""
    return {"encoder": encoder.identity, "features": features, "image_size": encoder.image_size}


def text_encoder_identity(decoder: Any) -> str:
    """sha256 over the weights of what reads a decoder's captions."""
    digest = hashlib.sha256()
    for name, value in sorted(decoder.text_encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
