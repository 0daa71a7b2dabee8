"""Embeddings of all media of a manifest, and conditions of its captions, made in shards by several processes.

A shard that is there is not made again, so that a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import encoders
from data.atomic import hash_file
from data.manifest import media_parts
from data.media.loading import MediaError
from data.modalities import MODALITIES
from data.records import ParsedRecord, scan_manifest
from encoders import Encoder
from train.dialogues.embed import encode_media
from train.dialogues.media import MediaFile, read_medium
from train.dialogues.targets import CAPTION_BATCH
from train.embeddings.store import (
    INDEX,
    StoreError,
    encoder_settings,
    read_index,
    shard_metadata,
    text_encoder_identity,
    write_caption_shard,
    write_index,
    write_media_shard,
)


@dataclass(frozen=True)
class EmbeddingJob:
    """How embeddings are made: of which model folder, what the core reads of a medium, how many at once."""

    model: Path
    features: str = "pooled"
    image_size: int = 0  #: side in pixels at which pictures are seen; 0 = the encoder's own
    batch: int = 16  #: media encoded at once; 1 = bit for bit what training makes of the files in each step
    per_shard: int = 512
    captions: bool = False


@dataclass(frozen=True)
class Shard:
    """One file to be made: media, or captions of a ``modality``."""

    path: Path
    media: tuple[MediaFile, ...] = ()
    modality: str = ""
    captions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.media) + len(self.captions)


def embed_manifest(manifest: Path, out: Path, job: EmbeddingJob, processes: int = 1) -> dict[str, Any]:
    """Fill the folder ``out``; returns how many media and captions there are and which could not be read.

    Raises StoreError where ``out`` holds anything but an unfinished or finished run of the same job and data.
    """
    media, captions, bad = contents(manifest, job.captions)
    shards = plan(out, media, captions, job.per_shard)
    index = {
        **encoder_settings(load_encoder(job), job.features),
        "data": hash_file(manifest),
        "captions": {m: text_encoder_identity(load_text_encoders(job.model)[m]) for m in captions},
        "shards": [shard.path.name for shard in shards],
    }
    open_folder(out, index)
    missing = [shard for shard in shards if not shard.path.is_file()]
    total = sum(map(len, shards))
    with tqdm(total=total, initial=total - sum(map(len, missing)), desc="embedding", unit="sample") as bar:
        for count in _made(missing, job, processes):
            bar.update(count)
    broken = {name: reason for shard in shards if shard.media for name, reason in _broken(shard).items()}
    counts = {modality: len(texts) for modality, texts in captions.items()}
    return {"media": len(media) - len(broken), "captions": counts, "broken": broken, "bad": bad}


def contents(manifest: Path, with_captions: bool) -> tuple[list[MediaFile], dict[str, list[str]], list[ParsedRecord]]:
    """Media of a manifest, each once; captions of the assistant's media; the places that hold no record."""
    media: dict[str, MediaFile] = {}
    captions: dict[str, set[str]] = {}
    bad = []
    for located in scan_manifest(manifest):
        if located.record is None:
            bad.append(located)
            continue
        for part in media_parts(located.record):
            media.setdefault(part["path"], MediaFile(part["type"], part["path"], root=str(manifest.parent)))
        for modality, caption in _captions(located.record) if with_captions else ():
            captions.setdefault(modality, set()).add(caption)
    known = [modality for modality in MODALITIES if modality in captions]
    return list(media.values()), {modality: sorted(captions[modality]) for modality in known}, bad


def plan(out: Path, media: Sequence[MediaFile], captions: dict[str, list[str]], per_shard: int) -> list[Shard]:
    """The shards of a manifest, the same in every run."""
    shards = [
        Shard(out / f"media-{number:05}.safetensors", media=part) for number, part in enumerate(runs(media, per_shard))
    ]
    for modality, texts in captions.items():
        for number, part in enumerate(runs(texts, per_shard)):
            path = out / f"{modality}-captions-{number:05}.safetensors"
            shards.append(Shard(path, modality=modality, captions=part))
    return shards


def runs(items: Sequence[Any], length: int) -> list[tuple[Any, ...]]:
    """``items`` in order, ``length`` at a time."""
    return [tuple(items[start : start + length]) for start in range(0, len(items), length)]


def open_folder(out: Path, index: dict[str, Any]) -> None:
    """Begin a new folder, or go on in one with the same index."""
    if (out / INDEX).is_file():
        found = read_index(out)
        for name, value in index.items():
            if found.get(name) != value:
                raise StoreError(f"{out} holds embeddings of another {name}: give a new folder")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} holds something already: give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_index(out, index)


# ---------------------------------------------------------------------------------------------------------------------
# Making a shard


def make_shard(shard: Shard, job: EmbeddingJob) -> int:
    """Write one shard; returns how many samples it has."""
    if shard.captions:
        _make_captions(shard, job)
    else:
        _make_media(shard, job)
    return len(shard)


@torch.no_grad()
def _make_captions(shard: Shard, job: EmbeddingJob) -> None:
    decoder = load_text_encoders(job.model)[shard.modality]
    made = [decoder.encode_caption(list(texts)).half().cpu() for texts in runs(shard.captions, CAPTION_BATCH)]
    write_caption_shard(shard.path, shard.modality, shard.captions, torch.cat(made))


@torch.no_grad()
def _make_media(shard: Shard, job: EmbeddingJob) -> None:
    encoder = load_encoder(job)
    made: dict[MediaFile, torch.Tensor] = {}
    broken: dict[str, str] = {}
    with ThreadPoolExecutor(2) as readers:  # the next media are decoded while the encoder runs
        found = readers.map(lambda part: _preprocessed(encoder, part), sorted(shard.media, key=lambda m: m.modality))
        waiting: list[tuple[MediaFile, torch.Tensor]] = []
        for part, tensor in found:
            if isinstance(tensor, str):
                broken[part.name] = tensor
                continue
            if waiting and (len(waiting) == job.batch or waiting[0][0].modality != part.modality):
                made |= _encoded(encoder, waiting, job.features)
                waiting = []
            waiting.append((part, tensor))
        made |= _encoded(encoder, waiting, job.features) if waiting else {}
    kept = [part for part in shard.media if part in made]
    names = [(part.name, os.stat(part.path).st_size) for part in kept]
    write_media_shard(shard.path, names, [made[part] for part in kept], broken)


def _preprocessed(encoder: Any, part: MediaFile) -> tuple[MediaFile, torch.Tensor | str]:
    """What the encoder takes of a medium, or why it cannot be read."""
    try:
        array, rate = read_medium(part)
        return part, encoder.preprocess(part.modality, array, rate)
    except (MediaError, ValueError) as error:
        return part, str(error)


def _encoded(
    encoder: Any, waiting: list[tuple[MediaFile, torch.Tensor]], features: str
) -> dict[MediaFile, torch.Tensor]:
    made = encode_media(encoder, waiting[0][0].modality, [tensor for _, tensor in waiting], features)
    return {part: embedding.float().cpu() for (part, _), embedding in zip(waiting, made, strict=True)}


# ---------------------------------------------------------------------------------------------------------------------
# Processes


def _made(shards: list[Shard], job: EmbeddingJob, processes: int) -> Iterator[int]:
    """Make shards, here or in as many processes; yields the samples of each that is done."""
    if processes == 1 or len(shards) < 2:
        for shard in shards:
            yield make_shard(shard, job)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    context = multiprocessing.get_context("spawn")  # a fork would share what torch and CUDA hold
    with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting = [pool.submit(make_shard, shard, job) for shard in shards]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


@cache
def load_encoder(job: EmbeddingJob) -> Encoder:
    """The encoder of a model folder, once a process."""
    encoder = encoders.load_encoder(job.model / "encoder")
    if job.image_size:
        encoder.set_image_size(job.image_size)
    return encoder.to("cuda" if torch.cuda.is_available() else "cpu")


@cache
def load_text_encoders(model: Path) -> dict[str, Any]:
    """What reads the captions of a model's decoders, once a process."""
    from train.dialogues.caption_encoders import caption_encoders

    return caption_encoders(model)


def _captions(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for message in record["messages"]:
        if message["role"] == "assistant":
            yield from ((part["type"], part["caption"]) for part in message["content"] if part["type"] != "text")


def _broken(shard: Shard) -> dict[str, str]:
    return shard_metadata(shard.path)["broken"]
