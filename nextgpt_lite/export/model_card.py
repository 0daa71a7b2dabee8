"""The model card of an exported model: what is in it, what it was trained on and by, its hash and its scores."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from nextgpt_lite.checkpoint import CheckpointError

#: The class that loads a component.
LOADERS = {
    "language_model": "AutoModelForCausalLM",
    "decoder": "DiffusionPipeline",
    "encoder": "encoders.media_encoder.MediaEncoder",
    "vision_tower": "encoders.open_clip.OpenClipVision",
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
    head = ModelCardData(library_name="transformers", pipeline_tag="any-to-any", tags=["nextgpt-lite"])
    template = str(Path(__file__).with_name("model_card.md"))
    rows = [_run_row(name, **record) for name, record in runs.items()]
    card = ModelCard.from_template(
        head, template, model=exported, runs=rows, results=results and {"seed": None, "count": None, **results},
        loaded_by=_loaded_by,
    )  # fmt: skip
    return card.content


def _loaded_by(name: str) -> str:
    """The call that loads a component, as Markdown; empty where there is no single one."""
    kind = LOADERS.get("decoder" if name.endswith("_decoder") else name)
    return f'`{kind}.from_pretrained("{name}")`' if kind else ""


def _run_row(name: str, recipe: dict[str, Any], figures: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What the card says of a run: of its task's settings everything but shapes, and its first figures."""
    settings = {key: value for key, value in recipe["task_settings"].items() if not isinstance(value, dict)}
    return {
        "name": name,
        "recipe": recipe,
        "settings": json.dumps(settings, ensure_ascii=False),
        "batch": recipe["batch_size"] * (recipe.get("gradient_accumulation_steps") or recipe["accumulate"]),
        "rates": ", ".join(f"{part} {rate:g}" for part, rate in recipe["learning_rates"].items() if rate),
        "figures": ", ".join(f"{key} {value:g}" for key, value in list(figures.items())[:4]),
    }
