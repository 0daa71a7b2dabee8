"""What the frozen encoder gives for the media of dialogues: before training, in each step, or from a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from data.atomic import atomic_file
from data.media_intake import MediaError
from train.dialogues.media import AT_START, IN_STEPS, FilePart, Part, embedded, fingerprint, read_part
from train.embeddings.store import EmbeddingStore

CACHE = Path(".cache")
EMBEDDING_BATCH = 64
Embeddings = torch.Tensor | list[torch.Tensor]


class MediaTable:
    """Embeddings (E,), or patch tokens (P, E), of media by their number, wherever they come from.

    ``broken`` says of the media that could not be read before training why not. A medium that is read in each step
    raises data.media_intake.MediaError when its turn comes.
    """

    def __init__(self, encoder: Any, parts: Sequence[Part], features: str = "pooled") -> None:
        self.encoder, self.parts, self.features = encoder, parts, features
        first = [number for number, part in enumerate(parts) if embedded(part) == AT_START]
        made, broken = embed_parts(encoder, [parts[number] for number in first], features)
        self.place = {number: place for place, number in enumerate(first)}
        self.made = made
        self.broken = {first[place]: reason for place, reason in broken.items()}
        self.stores = open_stores(parts, encoder, features)
        self._read: dict[int, torch.Tensor] = {}  # of the present batch
        self._find_in_stores()

    def __getitem__(self, number: int) -> torch.Tensor:
        if number in self.place:
            return self.made[self.place[number]]
        part = self.parts[number]
        store = self.stores.get(embedded(part))
        if store is not None:
            return store.medium(part)
        if number not in self._read:
            self._read[number] = embed_one(self.encoder, part, self.features)
        return self._read[number]

    def forget(self) -> None:
        """What was read for the last batch."""
        self._read.clear()

    def _find_in_stores(self) -> None:
        for number, part in enumerate(self.parts):
            store = self.stores.get(embedded(part))
            if store is not None and (problem := store.problem(part)):
                self.broken[number] = problem


class StepTable:
    """Embeddings of media by their reference, each embedded when it is asked for: what streams are trained with.

    Media of a manifest among the streams may be in one of ``stores``.
    """

    def __init__(self, encoder: Any, features: str, stores: Mapping[str, EmbeddingStore]) -> None:
        self.encoder, self.features, self.stores = encoder, features, stores
        self._read: dict[Part, torch.Tensor] = {}

    def __getitem__(self, part: Part) -> torch.Tensor:
        store = self.stores.get(embedded(part))
        if store is not None:
            if problem := store.problem(part):
                raise MediaError(problem)
            return store.medium(part)
        if part not in self._read:
            self._read[part] = embed_one(self.encoder, part, self.features)
        return self._read[part]

    def forget(self) -> None:
        """What was read for the last batch."""
        self._read.clear()


def open_stores(parts: Sequence[Part], encoder: Any, features: str) -> dict[str, EmbeddingStore]:
    """The folders of embeddings that parts refer to. ValueError for embeddings of another encoder."""
    folders = {embedded(part) for part in parts} - {AT_START, IN_STEPS}
    stores = {folder: EmbeddingStore(Path(folder)) for folder in sorted(folders)}
    for store in stores.values():
        store.check_encoder(encoder, features)
    return stores


@torch.no_grad()
def embed_one(encoder: Any, part: Part, features: str = "pooled") -> torch.Tensor:
    """Embedding (E,) or patch tokens (P, E) of one medium, alone: who shares its batch must not matter.

    Raises data.media_intake.MediaError for a file that cannot be read.
    """
    array, rate = read_part(part)
    try:
        tensor = encoder.preprocess(part.modality, array, rate)
    except ValueError as error:
        name = part.name if isinstance(part, FilePart) else part.modality
        raise MediaError(f"{name} cannot be embedded: {error}") from error
    return encode_media(encoder, part.modality, [tensor.to(device_of(encoder))], features)[0].cpu()


def encode_media(encoder: Any, modality: str, tensors: list[torch.Tensor], features: str) -> Embeddings:
    """Embeddings (B, E), or patch tokens (P, E) each, of preprocessed media of one modality."""
    return (encoder.patches if features == "patches" else encoder.embed)(modality, tensors)


def own_device() -> torch.device:
    """The GPU of this process, where there is one."""
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")


def device_of(encoder: Any) -> torch.device:
    return next(encoder.parameters()).device


@torch.no_grad()
def embed_parts(encoder: Any, parts: Sequence[Part], features: str = "pooled") -> tuple[Embeddings, dict[int, str]]:
    """Unit embeddings (N, E) of media parts, or their patch tokens, and why some could not be read (zeros).

    From the cache where they were computed before: encoder and text encoders are frozen in every stage. What could not
    be read then is tried again, since what was wrong may have been mended.
    """
    path = _cached(encoder, parts, features)
    embeddings: Any = torch.zeros(len(parts), encoder.width)
    if features == "patches":
        embeddings = [torch.zeros(0, encoder.width)] * len(parts)
    missing = range(len(parts))
    if path.is_file():
        embeddings, missing = _load(path)
        if not missing:
            return embeddings, {}
    broken: dict[int, str] = {}
    for batch in tqdm(_batches(parts, missing), desc="embedding media", unit="batch"):
        numbers, tensors = _preprocessed(encoder, parts, batch, broken)
        if not numbers:
            continue
        tensors = [tensor.to(device_of(encoder)) for tensor in tensors]
        made = encode_media(encoder, parts[batch[0]].modality, tensors, features)
        for number, embedding in zip(numbers, made, strict=True):
            embeddings[number] = embedding.cpu()
    _save(embeddings, broken, path)
    return embeddings, broken


def _preprocessed(
    encoder: Any, parts: Sequence[Part], batch: list[int], broken: dict[int, str]
) -> tuple[list[int], list[torch.Tensor]]:
    """The members of a batch that can be read, and what the encoder takes of them."""
    numbers, tensors = [], []
    for number in batch:
        try:
            array, rate = read_part(parts[number])
            tensors.append(encoder.preprocess(parts[number].modality, array, rate))
            numbers.append(number)
        except (MediaError, ValueError) as error:
            broken[number] = str(error)
    return numbers, tensors


def _cached(encoder: Any, parts: Sequence[Part], features: str) -> Path:
    told = encoder.identity + "".join(fingerprint(part) for part in parts)
    if features == "patches":
        told += f"patches at {encoder.image_size}"
    elif encoder.image_size != encoder.config.imagebind.towers["vision"].input_shape[-1]:
        told += f"at {encoder.image_size}"
    return CACHE / f"embeddings-{hashlib.sha256(told.encode()).hexdigest()[:24]}.safetensors"


def _save(embeddings: Embeddings, broken: dict[int, str], path: Path) -> None:
    pooled = isinstance(embeddings, torch.Tensor)
    table = {"embeddings": embeddings} if pooled else {str(i): e for i, e in enumerate(embeddings)}
    tensors = {name: tensor.contiguous() for name, tensor in table.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"broken": json.dumps(broken), "count": str(len(embeddings))})


def _load(path: Path) -> tuple[Embeddings, list[int]]:
    """Embeddings, and the numbers of those that could not be read."""
    with safe_open(path, "pt") as file:
        told = file.metadata() or {}
        broken = [int(number) for number in json.loads(told.get("broken", "{}"))]
        names = set(file.keys())
        if "embeddings" in names:
            return file.get_tensor("embeddings"), broken
        return [file.get_tensor(str(number)) for number in range(len(names))], broken


def _batches(parts: Sequence[Part], numbers: Sequence[int]) -> list[list[int]]:
    """Runs of one modality among the parts of these numbers, at most EMBEDDING_BATCH long."""
    return list(_runs(sorted(numbers, key=lambda number: parts[number].modality), parts))


def _runs(order: list[int], parts: Sequence[Part]) -> Iterator[list[int]]:
    run: list[int] = []
    for number in order:
        if run and (len(run) == EMBEDDING_BATCH or parts[run[0]].modality != parts[number].modality):
            yield run
            run = []
        run.append(number)
    if run:
        yield run
