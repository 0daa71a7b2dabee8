"""Stages 1 and 2 from precomputed embeddings against from files: samples a second, in one run.

    nextgpt-lite bench embed

From files, media are decoded and encoded, and captions read, in every step; from embeddings they are rows of shards.
Nothing else differs: the same records, batches and weights, and as many CPU threads as the recipe trains on. Forward
and backward count, not the optimiser.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nextgpt_lite.checkpoint import resolve_model
from nextgpt_lite.toybox_command import write_toybox
from train.embedding import Making, embed_manifest
from train.recipe import Recipe, read_recipe
from train.stages.media_parts import IN_STEPS
from train.task import Task, build_task

EXPECTED_RATIO = 5.0
RECIPES = Path(__file__).parent / "recipes"
#: Stage -> the recipe that it is timed with, and the folder of the model's core that it goes on from.
STAGES = {"encoding": "encoding_alignment", "decoding": "decoding_alignment"}
MODALITIES = ("image", "audio", "video")


def run(scenes: int = 24, rounds: int = 3, model: str | Path = "nano") -> dict[str, Any]:
    """Samples a second from files and from embeddings, and their ratio, by stage."""
    folder, threads = resolve_model(model), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        assembled = assemble(folder, place / "model")
        manifest = write_toybox(place / "toys", scenes, 3, MODALITIES)
        started = time.perf_counter()
        done = embed_manifest(manifest, place / "embeddings", Making(assembled, captions=True))
        seconds = time.perf_counter() - started
        try:
            figures = {name: of_stage(name, assembled, manifest, place / "embeddings", rounds) for name in STAGES}
        finally:
            torch.set_num_threads(threads)
    return {
        "conversations": scenes,
        "media_embedded_a_second": done["media"] / seconds,
        **figures,
        "expected_ratio": EXPECTED_RATIO,
    }


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
    """One stage both ways."""
    rates = {}
    for name, source in (("from_files", IN_STEPS), ("from_embeddings", str(embeddings))):
        recipe = recipe_for(stage, model, manifest, source)
        torch.set_num_threads(recipe.threads)
        task = build_task(recipe)
        for part, parameters in task.parts().items():  # what the stage does not train needs no gradients
            for parameter in parameters:
                parameter.requires_grad_(recipe.learning_rates.get(part, 0) > 0)
        rates[f"{name}_samples_per_second"] = samples_per_second(task, rounds if name == "from_embeddings" else 1)
    return {**rates, "ratio": rates["from_embeddings_samples_per_second"] / rates["from_files_samples_per_second"]}


def recipe_for(stage: str, model: Path, manifest: Path, source: str) -> Recipe:
    """The shipped recipe of a stage on the records of a manifest."""
    shipped = read_recipe(RECIPES / f"{STAGES[stage]}.yaml")
    data = [{"path": str(manifest), "embeddings": source, "held_out": 0.0}]
    settings = shipped.task_settings | {"data": data, "word_weight": 0.0, "lora": None}
    known = {name: value for name, value in settings.items() if name != "lora" or stage == "decoding"}
    return replace(shipped, model=str(model), task_settings=known)


def samples_per_second(task: Task, rounds: int) -> float:
    """Records a second of forward and backward passes, after one that is not timed."""
    bins = task.dataset
    task.model.train()
    _pass(task, bins[0])
    started, samples = time.perf_counter(), 0
    for _ in range(rounds):
        for number in range(len(bins)):  # type: ignore[arg-type]
            samples += _pass(task, bins[number])
    return samples / (time.perf_counter() - started)


def _pass(task: Task, item: Any) -> int:
    device = next(task.model.parameters()).device
    batch = {name: value.to(device) for name, value in task.collate([item]).items()}
    task.model(**batch)["loss"].backward()
    task.model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(item)
