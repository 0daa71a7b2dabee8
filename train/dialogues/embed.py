"""Embed: what the frozen encoder gives for media, computed before training, in each step, or read from a folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby, islice, pairwise
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import torch
from tqdm import tqdm

from data.media.loading import MediaError
from data.things.dialogues import MediaPart as ThingsPart
from data.things.dialogues import Photograph, Spoken
from nextgpt_lite.media_slots import batch_media
from train.dialogues.embedding_cache import SHARD, EmbeddingCache
from train.dialogues.records import AT_START, MediaFile, Medium, embedded, read_medium
from train.dialogues.simulated import simulated_media, simulated_photograph
from train.embeddings.store import EmbeddingStore

CACHE = Path(".cache")
EMBEDDING_BATCH = 64
M = TypeVar("M", bound=Medium)


class MediaEmbeddings:
    """``embeddings[medium]`` is its embedding (E,), or its patch tokens (P, E).

    Those of :meth:`prepare` are kept, those in one of ``stores`` are read, and those of :meth:`read` are there until it
    is called again. MediaError for a medium that cannot be read.
    """

    def __init__(self, encoder: Any, features: str, stores: Mapping[str, EmbeddingStore]) -> None:
        self.encoder, self.features, self.stores = encoder, features, stores
        self._kept: list[Mapping[Medium, torch.Tensor]] = []
        self._of_batch: dict[Medium, torch.Tensor] = {}
        self._broken: dict[Medium, str] = {}

    def prepare(self, media: Iterable[Medium]) -> dict[Medium, str]:
        """Embed what is to be embedded before training. Returns which of ``media`` cannot be read, and why."""
        media = list(dict.fromkeys(media))
        kept, broken = embed_media(self.encoder, [m for m in media if embedded(m) == AT_START], self.features)
        self._kept.append(kept)
        stored = [(medium, store) for medium in media if (store := self.stores.get(embedded(medium)))]
        return broken | {medium: problem for medium, store in stored if (problem := store.problem(medium))}

    def read(self, media: Iterable[Medium]) -> None:
        """Embed media of a batch that is to be made, those of one modality at once; what the batch before had goes."""
        self._of_batch, self._broken = self._embed(media)

    def __getitem__(self, medium: Medium) -> torch.Tensor:
        if kept := self._keeping(medium):
            return kept[medium]
        if store := self.stores.get(embedded(medium)):
            if problem := store.problem(medium):
                raise MediaError(problem)
            return store.medium(medium)
        if medium not in self._of_batch and medium not in self._broken:  # it came in place of another
            made, broken = self._embed([medium])
            self._of_batch, self._broken = self._of_batch | made, self._broken | broken
        if medium in self._broken:
            raise MediaError(self._broken[medium])
        return self._of_batch[medium]

    @torch.no_grad()
    def _embed(self, media: Iterable[Medium]) -> tuple[dict[Medium, torch.Tensor], dict[Medium, str]]:
        new = [m for m in dict.fromkeys(media) if not self._keeping(m) and embedded(m) not in self.stores]
        return read_and_embed(self.encoder, new, self.features, EMBEDDING_BATCH)

    def batch(self, rows: Sequence[Sequence[Medium]]) -> dict[str, Any]:
        """The core's keywords for the media of each row."""
        return batch_media([[self[medium] for medium in row] for row in rows])

    def _keeping(self, medium: Medium) -> Mapping[Medium, torch.Tensor] | None:
        return next((kept for kept in self._kept if medium in kept), None)


def is_stated(medium: Medium) -> TypeGuard[ThingsPart]:
    """Whether there is no such medium: only is known what a classifier sees in it, or what is said."""
    return isinstance(getattr(medium, "content", None), Photograph | Spoken)


def preprocess_medium(encoder: Any, medium: Medium) -> Any:
    """What the encoder takes of a medium; one that is simulated as it is.

    Raises data.media.loading.MediaError for one that cannot be read.
    """
    if is_stated(medium) or (isinstance(medium, ThingsPart) and medium.modality in encoder.simulated):
        return medium
    array, rate = read_medium(medium)
    try:
        return encoder.preprocess(medium.modality, array, rate)
    except ValueError as error:
        name = medium.name if isinstance(medium, MediaFile) else medium.modality
        raise MediaError(f"{name} cannot be embedded: {error}") from error


def encode_media(encoder: Any, modality: str, tensors: list[Any], features: str) -> Sequence[torch.Tensor]:
    """Embeddings (B, E), or patch tokens (P, E) each, of preprocessed media of one modality, or of simulated ones."""
    if isinstance(getattr(tensors[0], "content", None), Photograph):
        return [simulated_photograph(encoder, each.content, features) for each in tensors]
    if isinstance(tensors[0], ThingsPart):
        return simulated_media(encoder, tensors, features)
    device = next(encoder.parameters()).device
    tensors = [tensor.to(device) for tensor in tensors]
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        return (encoder.patches if features == "patches" else encoder.embed)(modality, tensors)


def own_device() -> torch.device:
    """The GPU of this process, where there is one."""
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def embed_media(
    encoder: Any, media: Sequence[Medium], features: str = "pooled"
) -> tuple[Mapping[Medium, torch.Tensor], dict[Medium, str]]:
    """Unit embeddings (E,) of media, or their patch tokens (P, E), and why some could not be read.

    From the cache where they were computed before: the encoder is frozen. What could not be read then is tried again.
    """
    kept = EmbeddingCache(CACHE, f"{encoder.identity} {features} at {encoder.image_size}")
    shards = [list(media[start : start + SHARD]) for start in range(0, len(media), SHARD)]
    unknown = [(shard, missing) for shard in shards if (missing := kept.missing(shard))]
    broken: dict[Medium, str] = {}
    total = sum(len(missing) for _, missing in unknown)
    with tqdm(total=total, desc="embedding media", unit="medium", disable=not total) as bar:
        for shard, missing in unknown:
            made, unreadable = read_and_embed(encoder, missing, features, EMBEDDING_BATCH, bar)
            broken |= unreadable
            if made:
                kept.add(shard, made)
    return kept, broken


def read_and_embed(
    encoder: Any, media: Sequence[M], features: str, size: int, bar: tqdm | None = None
) -> tuple[dict[M, torch.Tensor], dict[M, str]]:
    """Embeddings (E,) of media, or their patch tokens (P, E), on the CPU; and why others cannot be read."""

    def encode(modality: str, tensors: list[Any]) -> list[torch.Tensor]:
        return [row.float().cpu() for row in encode_media(encoder, modality, tensors, features)]

    return read_and_encode(media, lambda medium: preprocess_medium(encoder, medium), encode, size, bar)


def read_and_encode(
    media: Sequence[M],
    read: Callable[[M], Any],
    encode: Callable[[str, list[Any]], Any],
    size: int,
    bar: tqdm | None = None,
) -> tuple[dict[M, torch.Tensor], dict[M, str]]:
    """What ``encode`` makes of what ``read`` gives for media, at most ``size`` of one modality at once; and for those
    whose reading raises MediaError why."""
    made: dict[M, torch.Tensor] = {}
    broken: dict[M, str] = {}

    def attempt(medium: M) -> Any:
        try:
            return read(medium)
        except MediaError as error:
            broken[medium] = str(error)

    with ThreadPoolExecutor(2) as readers:  # the next batch is read while one is encoded
        reading = ((batch, readers.map(attempt, batch)) for batch in _batches(media, size))
        for (batch, values), _ in pairwise(chain(reading, [([], iter(()))])):
            found = {medium: value for medium, value in zip(batch, values, strict=True) if value is not None}
            if found:
                rows = encode(batch[0].modality, list(found.values()))
                made |= dict(zip(found, rows, strict=True))
            if bar is not None:
                bar.update(len(batch))
    return made, broken


def _batches(media: Sequence[M], size: int) -> Iterator[list[M]]:
    """Media of one modality, at most ``size`` at a time; those that are only stated apart."""

    def sort(medium: M) -> tuple[str, bool]:
        return medium.modality, is_stated(medium)

    for _, group in groupby(sorted(media, key=sort), key=sort):
        while batch := list(islice(group, size)):
            yield batch
