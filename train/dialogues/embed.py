"""Embed: what the frozen encoder gives for media, computed before training, in each step, or read from a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from data.atomic import atomic_file
from data.media.loading import MediaError
from train.dialogues.media import AT_START, IN_STEPS, MediaFile, Medium, embedded, fingerprint, read_medium
from train.embeddings.store import EmbeddingStore

CACHE = Path(".cache")
EMBEDDING_BATCH = 64


class MediaEmbeddings:
    """``embeddings[medium]`` is its embedding (E,), or its patch tokens (P, E).

    Those of :meth:`prepare` are kept, those in one of ``stores`` are read, all others are computed on demand and kept
    until :meth:`forget`. MediaError for a medium that cannot be read then.
    """

    def __init__(self, encoder: Any, features: str, stores: Mapping[str, EmbeddingStore]) -> None:
        self.encoder, self.features, self.stores = encoder, features, stores
        self._known: dict[Medium, torch.Tensor] = {}
        self._of_batch: dict[Medium, torch.Tensor] = {}

    def prepare(self, media: Iterable[Medium]) -> dict[Medium, str]:
        """Embed what is to be embedded before training. Returns which of ``media`` cannot be read, and why."""
        media = list(dict.fromkeys(media))
        known, broken = embed_media(self.encoder, [m for m in media if embedded(m) == AT_START], self.features)
        self._known |= known
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
    return encode_media(encoder, medium.modality, [preprocess_medium(encoder, medium)], features)[0].cpu()


def preprocess_medium(encoder: Any, medium: Medium) -> torch.Tensor:
    """What the encoder takes of a medium. Raises data.media.loading.MediaError for one that cannot be read."""
    array, rate = read_medium(medium)
    try:
        return encoder.preprocess(medium.modality, array, rate)
    except ValueError as error:
        name = medium.name if isinstance(medium, MediaFile) else medium.modality
        raise MediaError(f"{name} cannot be embedded: {error}") from error


def encode_media(encoder: Any, modality: str, tensors: list[torch.Tensor], features: str) -> Sequence[torch.Tensor]:
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
def embed_media(
    encoder: Any, media: Sequence[Medium], features: str = "pooled"
) -> tuple[dict[Medium, torch.Tensor], dict[Medium, str]]:
    """Unit embeddings (E,) of media, or their patch tokens (P, E), and why some could not be read.

    From the cache where they were computed before: encoder and text encoders are frozen in every stage. What could not
    be read then is tried again.
    """
    key = "\n".join((f"{encoder.identity} {features} at {encoder.image_size}", *map(fingerprint, media)))
    path = CACHE / f"embeddings-{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
    found = {media[int(number)]: row for number, row in load_file(path).items()} if path.is_file() else {}
    missing = [medium for medium in media if medium not in found]
    broken: dict[Medium, str] = {}
    for batch in tqdm(list(_batches(missing)), desc="embedding media", unit="batch", disable=not missing):
        tensors = {}
        for medium in batch:
            try:
                tensors[medium] = preprocess_medium(encoder, medium)
            except MediaError as error:
                broken[medium] = str(error)
        if tensors:
            rows = encode_media(encoder, batch[0].modality, list(tensors.values()), features)
            found |= {medium: row.cpu() for medium, row in zip(tensors, rows, strict=True)}
    if len(broken) < len(missing):
        with atomic_file(path) as aside:
            numbered = {str(n): found[medium].contiguous() for n, medium in enumerate(media) if medium in found}
            save_file(numbered, aside)
    return found, broken


def _batches(media: Sequence[Medium]) -> Iterator[list[Medium]]:
    """Media of one modality, at most EMBEDDING_BATCH at a time."""
    for _, group in groupby(sorted(media, key=lambda medium: medium.modality), key=lambda medium: medium.modality):
        while batch := list(islice(group, EMBEDDING_BATCH)):
            yield batch
