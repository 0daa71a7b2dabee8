"""Embed: what the frozen encoder gives for media, computed before training, in each step, or read from a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from data.atomic import atomic_file
from data.media.loading import MediaError
from train.dialogues.media import AT_START, IN_STEPS, MediaFile, Medium, embedded, fingerprint, read_medium
from train.embeddings.store import EmbeddingStore

CACHE = Path(".cache")
EMBEDDING_BATCH = 64
#: Of N media: (N, E) pooled, or patch tokens (P, E) each.
Embeddings = torch.Tensor | list[torch.Tensor]


class MediaEmbeddings:
    """``embeddings[medium]`` is its embedding (E,), or its patch tokens (P, E).

    Those of :meth:`prepare` are kept, those in one of ``stores`` are read, all others are computed when they are asked
    for and kept until :meth:`forget`. MediaError for a medium that cannot be read then.
    """

    def __init__(self, encoder: Any, features: str, stores: Mapping[str, EmbeddingStore]) -> None:
        self.encoder, self.features, self.stores = encoder, features, stores
        self._known: dict[Medium, torch.Tensor] = {}
        self._of_batch: dict[Medium, torch.Tensor] = {}

    def prepare(self, media: Iterable[Medium]) -> dict[Medium, str]:
        """Embed what is to be embedded before training. Returns which of ``media`` cannot be read, and why."""
        media = list(dict.fromkeys(media))
        first = [medium for medium in media if embedded(medium) == AT_START]
        rows, unreadable = embed_media(self.encoder, first, self.features)
        self._known |= dict(zip(first, rows, strict=True))
        broken = {first[number]: reason for number, reason in unreadable.items()}
        return broken | {medium: problem for medium in media if (problem := self._problem(medium))}

    def __getitem__(self, medium: Medium) -> torch.Tensor:
        if medium in self._known:
            return self._known[medium]
        if store := self.stores.get(embedded(medium)):
            if problem := store.problem(medium):
                raise MediaError(problem)
            return store.medium(medium)
        if medium not in self._of_batch:
            self._of_batch[medium] = embed_one(self.encoder, medium, self.features)
        return self._of_batch[medium]

    def forget(self) -> None:
        """Drop what was computed for the batch before."""
        self._of_batch.clear()

    def _problem(self, medium: Medium) -> str:
        store = self.stores.get(embedded(medium))
        return store.problem(medium) if store else ""


def open_stores(folders: Iterable[str], encoder: Any, features: str) -> dict[str, EmbeddingStore]:
    """The folders of embeddings by name. ValueError for embeddings of another encoder."""
    stores = {folder: EmbeddingStore(Path(folder)) for folder in sorted(set(folders) - {AT_START, IN_STEPS})}
    for store in stores.values():
        store.check_encoder(encoder, features)
    return stores


@torch.no_grad()
def embed_one(encoder: Any, medium: Medium, features: str) -> torch.Tensor:
    """Embedding (E,) or patch tokens (P, E) of one medium, alone: it must not depend on the rest of a batch.

    Raises data.media.loading.MediaError for a file that cannot be read.
    """
    array, rate = read_medium(medium)
    try:
        tensor = encoder.preprocess(medium.modality, array, rate)
    except ValueError as error:
        name = medium.name if isinstance(medium, MediaFile) else medium.modality
        raise MediaError(f"{name} cannot be embedded: {error}") from error
    return encode_media(encoder, medium.modality, [tensor], features)[0].cpu()


def encode_media(encoder: Any, modality: str, tensors: list[torch.Tensor], features: str) -> Embeddings:
    """Embeddings (B, E), or patch tokens (P, E) each, of preprocessed media of one modality."""
    tensors = [tensor.to(device_of(encoder)) for tensor in tensors]
    return (encoder.patches if features == "patches" else encoder.embed)(modality, tensors)


def own_device() -> torch.device:
    """The GPU of this process, where there is one."""
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")


def device_of(encoder: Any) -> torch.device:
    return next(encoder.parameters()).device


# ---------------------------------------------------------------------------------------------------------------------
# Many at once, with a cache


@torch.no_grad()
def embed_media(encoder: Any, media: Sequence[Medium], features: str = "pooled") -> tuple[Embeddings, dict[int, str]]:
    """Unit embeddings (N, E) of media, or their patch tokens, and why some could not be read (zeros).

    From the cache where they were computed before: encoder and text encoders are frozen in every stage. What could not
    be read then is tried again.
    """
    path = _cache_file(encoder, media, features)
    embeddings: Any = torch.zeros(len(media), encoder.width)
    if features == "patches":
        embeddings = [torch.zeros(0, encoder.width)] * len(media)
    missing: Sequence[int] = range(len(media))
    if path.is_file():
        embeddings, missing = _load(path)
        if not missing:
            return embeddings, {}
    broken: dict[int, str] = {}
    for batch in tqdm(list(_batches(media, missing)), desc="embedding media", unit="batch"):
        tensors = _preprocess(encoder, media, batch, broken)
        if tensors:
            made = encode_media(encoder, media[batch[0]].modality, list(tensors.values()), features)
            for number, embedding in zip(tensors, made, strict=True):
                embeddings[number] = embedding.cpu()
    _save(embeddings, broken, path)
    return embeddings, broken


def _preprocess(
    encoder: Any, media: Sequence[Medium], batch: list[int], broken: dict[int, str]
) -> dict[int, torch.Tensor]:
    """By number what the encoder takes of the media of a batch that can be read; the others go to ``broken``."""
    tensors = {}
    for number in batch:
        try:
            array, rate = read_medium(media[number])
            tensors[number] = encoder.preprocess(media[number].modality, array, rate)
        except (MediaError, ValueError) as error:
            broken[number] = str(error)
    return tensors


def _batches(media: Sequence[Medium], numbers: Iterable[int]) -> Iterator[list[int]]:
    """Numbers of media of one modality, at most EMBEDDING_BATCH at a time."""
    run: list[int] = []
    for number in sorted(numbers, key=lambda number: media[number].modality):
        if run and (len(run) == EMBEDDING_BATCH or media[run[0]].modality != media[number].modality):
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _cache_file(encoder: Any, media: Sequence[Medium], features: str) -> Path:
    what = f"{encoder.identity} {features} at {encoder.image_size}"
    key = "\n".join((what, *map(fingerprint, media)))
    return CACHE / f"embeddings-{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"


def _save(embeddings: Embeddings, broken: dict[int, str], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    pooled = isinstance(embeddings, torch.Tensor)
    table = {"embeddings": embeddings} if pooled else {str(i): e for i, e in enumerate(embeddings)}
    tensors = {name: tensor.contiguous() for name, tensor in table.items()}
    with atomic_file(path) as aside:
        save_file(tensors, aside, {"broken": json.dumps(broken), "count": str(len(embeddings))})


def _load(path: Path) -> tuple[Embeddings, list[int]]:
    """Embeddings, and the numbers of those that could not be read."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        broken = [int(number) for number in json.loads(metadata.get("broken", "{}"))]
        names = set(file.keys())
        if "embeddings" in names:
            return file.get_tensor("embeddings"), broken
        return [file.get_tensor(str(number)) for number in range(len(names))], broken
