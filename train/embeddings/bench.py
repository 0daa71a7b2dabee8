"""Stages 1 and 2 from precomputed embeddings against from files: samples a second, in one run.

    nextgpt-lite bench embed

From files, media are decoded and encoded, and captions read, in every step; from embeddings they are rows of shards.
Nothing else differs: the same records, batches and weights, on the GPU where there is one, as many CPU threads as the
recipe trains on, and its precision. Forward and backward count, not the optimiser. Where there is a compiler, both are
timed with ``torch_compile`` as well.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from data.toybox import write_toybox
from nextgpt_lite.checkpoint import resolve_model
from train.dialogues.bins import BinnedRows
from train.dialogues.embed import own_device
from train.dialogues.records import IN_STEPS
from train.embeddings.job import EmbeddingJob, embed_manifest
from train.engine.speed import compiled_blocks, full_precision_attention, has_compiler
from train.recipe import RECIPES, Recipe, read_recipe
from train.task import Task, build_task

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
    """One stage both ways, as it is and with its blocks compiled."""
    rates, forms = dict[str, float](), ("", "compiled_") if has_compiler() else ("",)
    for name, source in (("from_files", IN_STEPS), ("from_embeddings", str(embeddings))):
        recipe = recipe_for(stage, model, manifest, source)
        torch.set_num_threads(recipe.threads)
        task = build_task(recipe)
        task.model.to(own_device())
        for part, parameters in task.parts().items():  # what the stage does not train needs no gradients
            for parameter in parameters:
                parameter.requires_grad_(recipe.learning_rates.get(part, 0) > 0)
        times = rounds if name == "from_embeddings" else 1
        for form in forms:
            with full_precision_attention(), compiled_blocks(task.model, bool(form)):
                rates[f"{form}{name}"] = samples_per_second(task, recipe.bf16, times)
    return rates | {f"{form}ratio": rates[f"{form}from_embeddings"] / rates[f"{form}from_files"] for form in forms}


def recipe_for(stage: str, model: Path, manifest: Path, source: str) -> Recipe:
    """The shipped recipe of a stage on the records of a manifest."""
    shipped = read_recipe(RECIPES / f"{STAGES[stage]}.yaml")
    data = [{"path": str(manifest), "embeddings": source, "held_out": 0.0}]
    settings = shipped.task_settings | {"data": data, "word_weight": 0.0}
    settings |= {"lora": None} if stage == "decoding" else {}
    return replace(shipped, model=str(model), task_settings=settings)


def samples_per_second(task: Task, bf16: bool, rounds: int) -> float:
    """Records a second of forward and backward passes, after a round that is not timed."""
    bins = cast(BinnedRows, task.dataset).bins
    task.model.train()
    for item in bins:
        _pass(task, item, bf16)
    started = time.perf_counter()
    samples = sum(_pass(task, item, bf16) for _ in range(rounds) for item in bins)
    return samples / (time.perf_counter() - started)


def _pass(task: Task, item: Any, bf16: bool) -> int:
    """As a step of training: batches are made in full precision, the model runs under autocast."""
    device = next(task.model.parameters()).device
    batch = {name: value.to(device) for name, value in task.collate([item]).items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        loss = task.model(**batch)["loss"]
    loss.backward()
    task.model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(item)
