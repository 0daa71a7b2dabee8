"""Stages 1 and 2 from precomputed embeddings, from files, and from files by a plain loop: samples a second, in one run.

    nextgpt-lite bench embed

From files, media are decoded and encoded, and captions read, in every step, for the next batch while the model trains
on this one; from embeddings they are rows of shards. The plain loop is what one writes first: it reads files one after
another in its own process, encodes a batch at once, and then trains on it. Nothing else differs: the same records,
batches and weights, on the GPU where there is one, as many CPU threads as the recipe trains on, and its precision.
Forward and backward count, not the optimiser. Where there is a compiler, all are timed with ``torch_compile`` as well.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, cast

import torch

from data.media.loading import load_medium
from data.toybox import write_toybox
from nextgpt_lite.checkpoint import resolve_model
from nextgpt_lite.media_slots import batch_media
from train.dialogues.bins import BinnedRows
from train.dialogues.embed import encode_media, own_device
from train.dialogues.encode import Row
from train.dialogues.records import IN_STEPS, MediaFile
from train.embeddings.job import EmbeddingJob, embed_manifest
from train.engine.speed import compiled_blocks, full_precision_attention, has_compiler
from train.recipe import RECIPES, Recipe, read_recipe
from train.stages.dialogue_task import DialogueTask
from train.task import build_task

Batch = dict[str, torch.Tensor]

EXPECTED_RATIO = 5.0
#: Stage -> the recipe that it is timed with, and the folder of the model's core that it goes on from.
STAGES = {"encoding": "encoding_alignment", "decoding": "decoding_alignment"}
MODALITIES = ("image", "audio", "video")
#: Sides of images and videos in pixels: Toybox's own, and that of the papers' data (COCO: 640 x 480, WebVid: 596 x
#: 336), of which more is to be decoded and as much is to be encoded.
SIZES = (128, 480)
#: Conversations: enough that all bins but one are full, as in training.
SCENES = 80


def run(
    scenes: int = SCENES, rounds: int = 3, model: str | Path = "nano", sizes: Sequence[int] = SIZES
) -> dict[str, Any]:
    """By the side of images and videos: media embedded a second, and by stage samples a second and their ratio."""
    folder, threads = resolve_model(model), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as scratch:
        assembled = assemble(folder, Path(scratch) / "model")
        try:
            figures = {f"{size}_pixels": of_size(size, scenes, rounds, assembled, Path(scratch)) for size in sizes}
        finally:
            torch.set_num_threads(threads)
    return {"conversations": scenes, **figures, "expected_ratio": EXPECTED_RATIO}


def of_size(size: int, scenes: int, rounds: int, model: Path, scratch: Path) -> dict[str, Any]:
    """Both stages on images and videos of one size."""
    embeddings = scratch / f"embeddings_{size}"
    manifest = write_toybox(scratch / f"toys_{size}", scenes, 3, MODALITIES, size)
    started = time.perf_counter()
    done = embed_manifest(manifest, embeddings, EmbeddingJob(model, captions=True))
    rate = done["media"] / (time.perf_counter() - started)
    stages = {name: of_stage(name, model, manifest, embeddings, rounds) for name in STAGES}
    return {"media_embedded_a_second": rate, **stages}


def assemble(model: Path, out: Path) -> Path:
    """The model's folder by links, its core under the names that stages look for."""
    out.mkdir()
    for component in model.iterdir():
        (out / component.name).symlink_to(component.resolve())
    for name in ("core_encoding", "core_decoding"):
        if not (out / name).exists():
            (out / name).symlink_to((model / "core").resolve())
    return out


def of_stage(stage: str, model: Path, manifest: Path, embeddings: Path, rounds: int) -> dict[str, float]:
    """One stage in the three ways, as it is and with its blocks compiled."""
    rates, forms = dict[str, float](), ("", "compiled_") if has_compiler() else ("",)
    for name, source in (("from_files", IN_STEPS), ("from_embeddings", str(embeddings))):
        recipe = recipe_for(stage, model, manifest, source)
        torch.set_num_threads(recipe.threads)
        task = cast(DialogueTask, build_task(recipe))
        task.model.to(own_device())
        for part, parameters in task.parts().items():  # what the stage does not train needs no gradients
            for parameter in parameters:
                parameter.requires_grad_(recipe.learning_rates.get(part, 0) > 0)
        times = rounds if name == "from_embeddings" else 1
        for form in forms:
            with full_precision_attention(), compiled_blocks(task.model, bool(form)):
                rates[f"{form}{name}"] = samples_per_second(task, _ahead, recipe.bf16, times)
                if source == IN_STEPS:
                    rates[f"{form}plain_loop"] = samples_per_second(task, _plain, recipe.bf16, times)
    for form in forms:
        rates[f"{form}ratio"] = rates[f"{form}from_embeddings"] / rates[f"{form}from_files"]
        rates[f"{form}ratio_to_plain_loop"] = rates[f"{form}from_files"] / rates[f"{form}plain_loop"]
    return rates


def recipe_for(stage: str, model: Path, manifest: Path, source: str) -> Recipe:
    """The shipped recipe of a stage on the records of a manifest."""
    shipped = read_recipe(RECIPES / f"{STAGES[stage]}.yaml")
    data = [{"path": str(manifest), "embeddings": source, "held_out": 0.0}]
    settings = shipped.task_settings | {"data": data, "word_weight": 0.0}
    settings |= {"lora": None} if stage == "decoding" else {}
    return replace(shipped, model=str(model), task_settings=settings)


def samples_per_second(
    task: DialogueTask, batches: Callable[[DialogueTask], Iterator[Batch]], bf16: bool, rounds: int
) -> float:
    """Records a second of forward and backward passes, after a round that is not timed."""
    task.model.train()
    for batch in batches(task):
        _pass(task, batch, bf16)
    started = time.perf_counter()
    for _ in range(rounds):
        for batch in batches(task):
            _pass(task, batch, bf16)
    samples = rounds * sum(map(len, _bins(task)))
    return samples / (time.perf_counter() - started)


def _ahead(task: DialogueTask) -> Iterator[Batch]:
    """Batches as the engine has them: the next one is begun before this one is needed."""
    begun = (task.collate([item]) for item in _bins(task))
    for batch, _ in pairwise(chain(begun, [None])):
        yield task.finish(batch)


def _plain(task: DialogueTask) -> Iterator[Batch]:
    """Batches of a plain loop."""
    loader, collator = task.loader, copy(task.collator)
    for rows in _bins(task):
        media = list(dict.fromkeys(medium for row in rows for medium in row.media))
        known: dict[Any, torch.Tensor] = {}
        for modality in {medium.modality for medium in media}:
            own = [medium for medium in media if isinstance(medium, MediaFile) and medium.modality == modality]
            loaded = [load_medium(medium.path) for medium in own]
            tensors = [task.encoder.preprocess(modality, each.array, each.rate) for each in loaded]
            encoded = encode_media(task.encoder, modality, tensors, loader.embeddings.features)
            known |= {medium: row.float().cpu() for medium, row in zip(own, encoded, strict=True)}
        collator.media_of = lambda rows, known=known: batch_media([[known[medium] for medium in row] for row in rows])
        yield collator(rows)


def _bins(task: DialogueTask) -> list[list[Row]]:
    return cast(BinnedRows, task.dataset).bins


def _pass(task: DialogueTask, batch: Batch, bf16: bool) -> None:
    """As a step of training: batches are made in full precision, the model runs under autocast."""
    device = next(task.model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        loss = task.model(**batch)["loss"]
    loss.backward()
    task.model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
