"""Embeddings of all media of a manifest, and conditions of its captions, made in shards by several processes.

A shard that exists is not made again, so that an interrupted run goes on where it was.
"""

import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import encoders
from data.atomic import check_new_folder, hash_file, write_json
from data.manifest import media_parts
from data.modalities import MODALITIES
from data.records import ParsedRecord, scan_manifest
from encoders import Encoder
from train.dialogues.embed import read_and_embed
from train.dialogues.records import MediaFile
from train.dialogues.targets import CAPTION_BATCH, caption_encoders
from train.embeddings import store


@dataclass(frozen=True)
class EmbeddingJob:
    """How embeddings are made: of which model folder, what the core reads of a medium, how many at once."""

    model: Path
    features: str = "pooled"
    image_size: int = 0  #: side in pixels at which images are seen; 0 = the encoder's own
    batch: int = 16  #: media encoded at once
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

    Raises ValueError where ``out`` holds anything but an unfinished or finished run of the same job and data.
    """
    media, captions, bad = contents(manifest, job.captions)
    shards = plan(out, media, captions, job.per_shard)
    index = {
        **store.encoder_settings(load_encoder(job), job.features),
        "data": hash_file(manifest),
        "captions": {m: store.text_encoder_identity(load_text_encoders(job.model)[m]) for m in captions},
        "shards": [shard.path.name for shard in shards],
    }
    open_folder(out, index)
    missing = [shard for shard in shards if not shard.path.is_file()]
    total = sum(map(len, shards))
    with tqdm(total=total, initial=total - sum(map(len, missing)), desc="embedding", unit="sample") as bar:
        for count in _make_shards(missing, job, processes):
            bar.update(count)
    metadata = [store.shard_metadata(shard.path) for shard in shards if shard.media]
    broken = {name: reason for each in metadata for name, reason in each["broken"].items()}
    counts = {modality: len(texts) for modality, texts in captions.items()}
    return {"media": len(media) - len(broken), "captions": counts, "broken": broken, "bad": bad}


def contents(manifest: Path, with_captions: bool) -> tuple[list[MediaFile], dict[str, list[str]], list[ParsedRecord]]:
    """Media of a manifest, each once; captions of the assistant's media; the places that hold no record."""
    media: dict[str, MediaFile] = {}
    captions: dict[str, set[str]] = defaultdict(set)
    parsed = list(scan_manifest(manifest))
    for record in (one.record for one in parsed if one.record is not None):
        for part in media_parts(record):
            media.setdefault(part["path"], MediaFile(part["type"], part["path"], root=str(manifest.parent)))
        for message in record["messages"] if with_captions else ():
            for part in message["content"] if message["role"] == "assistant" else ():
                if part["type"] != "text":
                    captions[part["type"]].add(part["caption"])
    known = {modality: sorted(captions[modality]) for modality in MODALITIES if modality in captions}
    return list(media.values()), known, [one for one in parsed if one.record is None]


def plan(out: Path, media: Sequence[MediaFile], captions: dict[str, list[str]], per_shard: int) -> list[Shard]:
    """The shards of a manifest, the same in every run."""
    shards = [Shard(out / f"media-{n:05}.safetensors", media=each) for n, each in enumerate(_chunks(media, per_shard))]
    for modality, texts in captions.items():
        for n, each in enumerate(_chunks(texts, per_shard)):
            shards.append(Shard(out / f"{modality}-captions-{n:05}.safetensors", modality=modality, captions=each))
    return shards


def open_folder(out: Path, index: dict[str, Any]) -> None:
    """Begin a new folder, or go on in one with the same index."""
    if (out / store.INDEX).is_file():
        found = store.read_index(out)
        for name, value in index.items():
            if found.get(name) != value:
                raise store.StoreError(f"{out} holds embeddings of another {name}: give a new folder")
        return
    check_new_folder(out)
    write_json(out / store.INDEX, {"format": store.FORMAT, **index})


def _chunks(items: Sequence[Any], length: int) -> list[tuple[Any, ...]]:
    return [tuple(items[start : start + length]) for start in range(0, len(items), length)]


@torch.no_grad()
def make_shard(shard: Shard, job: EmbeddingJob) -> int:
    """Write one shard; returns how many samples it has."""
    if shard.captions:
        decoder = load_text_encoders(job.model)[shard.modality]
        made = [decoder.encode_caption(list(texts)).half().cpu() for texts in _chunks(shard.captions, CAPTION_BATCH)]
        metadata = {"modality": shard.modality, "captions": list(shard.captions)}
        store.write_shard(shard.path, {"conditions": torch.cat(made)}, metadata)
        return len(shard)
    embeddings, broken = read_and_embed(load_encoder(job), shard.media, job.features, job.batch)
    kept = [medium for medium in shard.media if medium in embeddings]
    sizes = [(medium.name, os.stat(medium.path).st_size) for medium in kept]
    rows = [embeddings[medium].float() for medium in kept]
    store.write_media_shard(shard.path, sizes, rows, {medium.name: reason for medium, reason in broken.items()})
    return len(shard)


def _make_shards(shards: list[Shard], job: EmbeddingJob, processes: int) -> Iterator[int]:
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


#: What reads the captions of the decoders of a model folder, once a process.
load_text_encoders = cache(caption_encoders)
