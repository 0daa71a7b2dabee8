"""The model card of an exported model: what is in it, what it was trained on and by, its hash and its scores."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nextgpt_lite.checkpoint import CheckpointError

#: How each kind of component is loaded.
LOADING = {
    "language_model": 'AutoModelForCausalLM.from_pretrained("language_model")',
    "image_decoder": 'DiffusionPipeline.from_pretrained("image_decoder")',
    "video_decoder": 'DiffusionPipeline.from_pretrained("video_decoder")',
    "audio_decoder": 'DiffusionPipeline.from_pretrained("audio_decoder")',
    "encoder": 'encoders.media_encoder.MediaEncoder.from_pretrained("encoder")',
    "vision_tower": 'encoders.open_clip.OpenClipVision.from_pretrained("vision_tower")',
}


@dataclass
class Exported:
    """What was exported: components, where LoRA was merged, what the reader must know."""

    name: str
    hash: str
    dtype: str
    components: dict[str, str] = field(default_factory=dict)  #: name -> class
    sha256: dict[str, str] = field(default_factory=dict)  #: of the components that it was made from
    merged: list[str] = field(default_factory=list)  #: last names of the layers whose LoRA was merged
    notes: list[str] = field(default_factory=list)


def read_runs(folder: Path | None) -> dict[str, dict[str, Any]]:
    """The records of the runs in ``folder``, by name, in the order in which they ended."""
    if folder is None:
        return {}
    records = sorted(folder.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise CheckpointError(f"no run in {folder}: expected folders with a run.json")
    return {path.parent.name: _read(path, ("recipe", "figures")) for path in records}


def read_scores(path: Path | None, model_hash: str) -> dict[str, Any] | None:
    """Results of ``nextgpt-lite evaluate``, refused where they are another model's."""
    if path is None:
        return None
    results = _read(path, ("suite", "metrics", "model"))
    found = str(results["model"].get("hash") if isinstance(results["model"], dict) else results["model"])
    if found != model_hash:
        raise CheckpointError(f"{path} scores the model {found[:12]}, this one is {model_hash[:12]}")
    return results


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise CheckpointError(f"{path} has no {missing[0]!r}: expected what nextgpt-lite writes")
    return values


def model_card(exported: Exported, runs: dict[str, dict[str, Any]], results: dict[str, Any] | None) -> str:
    """The card as Markdown, with the head that the Hugging Face hub reads."""
    head = {"library_name": "transformers", "pipeline_tag": "any-to-any", "tags": ["nextgpt-lite"]}
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {exported.name}\n",
        f"An any-to-any model of nextgpt_lite, in plain parts. Hash `{exported.hash}`.\n",
        _components(exported),
        _merge(exported),
        _data(runs),
        _recipes(runs),
        _scores(results),
    ]
    return "\n".join(part for part in parts if part)


def _components(exported: Exported) -> str:
    rows = [
        f"| `{name}/` | `{kind}` | {f'`{LOADING[name]}`' if name in LOADING else ''} | `{exported.sha256[name][:16]}` |"
        for name, kind in sorted(exported.components.items())
    ]
    table = "| folder | class | loaded by | made from (sha256) |\n|---|---|---|---|\n"
    return f"## Parts\n\n{table}" + "\n".join(rows) + "\n"


def _merge(exported: Exported) -> str:
    merged = f"LoRA on {', '.join(exported.merged)} is merged" if exported.merged else "There was no LoRA to merge"
    lines = [f"{merged}; weights are {exported.dtype}.", *exported.notes]
    return "## Language model\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _data(runs: dict[str, dict[str, Any]]) -> str:
    """Settings of the runs that say what they read: everything but shapes."""
    if not runs:
        return ""
    lines = []
    for name, record in runs.items():
        settings = {
            key: value for key, value in record["recipe"]["task_settings"].items() if not isinstance(value, dict)
        }
        lines.append(f"- {name}: task `{record['recipe']['task']}`, {json.dumps(settings, ensure_ascii=False)}")
    return "## Data\n\nWhat is not named has the task's default.\n\n" + "\n".join(lines) + "\n"


def _recipes(runs: dict[str, dict[str, Any]]) -> str:
    if not runs:
        return ""
    rows = []
    for name, record in runs.items():
        recipe = record["recipe"]
        rates = ", ".join(f"{part} {rate:g}" for part, rate in recipe["learning_rates"].items() if rate)
        figures = ", ".join(f"{key} {value:g}" for key, value in list(record["figures"].items())[:4])
        batch = recipe["batch_size"] * (recipe.get("gradient_accumulation_steps") or recipe["accumulate"])
        rows.append(f"| {name} | {recipe['steps']} x {batch} | {rates} | {recipe['seed']} | {figures} |")
    head = "| run | steps x batch | learning rates | seed | figures |\n|---|---|---|---|---|\n"
    return f"## Recipes\n\n{head}" + "\n".join(rows) + "\n"


def _scores(results: dict[str, Any] | None) -> str:
    if results is None:
        return ""
    numbers = {key: value for key, value in results["metrics"].items() if isinstance(value, int | float)}
    rows = "\n".join(f"| {key} | {value:.4g} |" for key, value in numbers.items())
    heading = f"Suite `{results['suite']}`, seed {results.get('seed')}, count {results.get('count')}."
    return f"## Scores\n\n{heading}\n\n| figure | value |\n|---|---|\n{rows}\n"
