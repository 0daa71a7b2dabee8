"""Export: a model's parts as plain folders of Transformers and Diffusers, readable without this project.

    language_model/    a causal language model of transformers with its tokenizer, LoRA merged, biases folded
    image_decoder/ ... pipelines of diffusers
    encoder/  cache/   as in the model
    core/              what the stages trained, as it is: it goes with the language model *before* the merge
    README.md          model card: what it was trained on and by, hash, scores
    export.json        hashes, and what was merged

The language model answers text as the model does. It does not read media: gated prompts pass through the key and
value projections without LoRA (:func:`nextgpt_lite.long_context.merge.merge_core`), so a merge of LoRA on these two is
exact for text alone. Static prompts, which text sees as well, have no place in a plain language model and are left out.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData

from adapters import llama_adapter_v2
from data.atomic import atomic_folder, write_json, write_text
from nextgpt_lite.checkpoint import CheckpointError, component, model_hash, read_manifest
from nextgpt_lite.core_checkpoint import CONTEXT_ADAPTER, load_core
from nextgpt_lite.language_models import read_tokenizer
from nextgpt_lite.long_context.merge import PROMPT_PROJECTIONS, merge_lora
from nextgpt_lite.model import AnyToAnyCore

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


def import_extra(extra: str, *needed: str) -> Any:
    """The package that is called as its ``extra``; CheckpointError where it or what it ``needed`` is not installed."""
    try:
        for name in needed:
            import_module(name)
        return import_module(extra)
    except ImportError as error:
        raise CheckpointError(f"this export needs {error.name}: pip install -e '.[{extra}]'") from error


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


def _run_row(name: str, recipe: dict[str, Any], figures: dict[str, Any], steps: int = 0, **_: Any) -> dict[str, Any]:
    """What the card says of a run: of its task's settings everything but shapes, and its first figures."""
    settings = {key: value for key, value in recipe["task_settings"].items() if not isinstance(value, dict)}
    return {
        "name": name,
        "recipe": recipe,
        "steps": steps or recipe["steps"],
        "settings": json.dumps(settings, ensure_ascii=False),
        "batch": recipe["batch_size"] * (recipe.get("gradient_accumulation_steps") or recipe["accumulate"]),
        "rates": ", ".join(f"{part} {rate:g}" for part, rate in recipe["learning_rates"].items() if rate),
        "figures": ", ".join(f"{key} {value:g}" for key, value in list(figures.items())[:4]),
    }


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Components that are not copied as they are: they go into the folder of the language model.
MERGED = ("tokenizer", "language_model", CONTEXT_ADAPTER)


def export_model(
    folder: Path, out: Path, dtype: str = "float32", runs: Path | None = None, scores: Path | None = None
) -> Exported:
    """Write the parts of the model in ``folder`` to ``out``, atomically.

    Args:
        folder: a model folder with a manifest; every component's hash is checked.
        out: must not exist.
        dtype: of the language model's weights; float32 holds the merge exactly.
        runs: folder of run folders, whose ``run.json`` give the recipes of the card.
        scores: a ``results.json`` of ``nextgpt-lite evaluate`` for the card.

    Raises:
        CheckpointError: where the model does not fit together, ``out`` exists, or runs or scores cannot be read.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists already: give a new folder")
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is unknown: expected one of {', '.join(DTYPES)}")
    manifest = read_manifest(folder)
    entries = manifest["components"]
    exported = Exported(manifest["name"], model_hash(manifest), dtype)
    exported.sha256 = {name: entry["sha256"] for name, entry in entries.items()}
    recipes, figures = read_runs(runs), read_scores(scores, exported.hash)
    sources = {name: component(folder, manifest, name) for name in entries}
    try:
        with atomic_folder(out) as temporary:
            for name, source in sources.items():
                if name not in MERGED:
                    shutil.copytree(source, temporary / name)
                    exported.components[name] = entries[name]["class"]
            _export_language_model(sources, temporary / "language_model", exported)
            write_json(temporary / "export.json", asdict(exported))
            write_text(temporary / "README.md", model_card(exported, recipes, figures))
    except OSError as error:
        raise CheckpointError(f"{out} cannot be written: {error}") from error
    return exported


def _export_language_model(sources: dict[str, Path], folder: Path, exported: Exported) -> None:
    core = load_core(sources["core"], sources["language_model"], adapter=sources.get(CONTEXT_ADAPTER))
    plain_language_model(core, exported)
    language_model: Any = core.language_model
    language_model.to(DTYPES[exported.dtype])
    language_model.set_attn_implementation("sdpa")
    language_model.save_pretrained(folder)
    read_tokenizer(sources["tokenizer"]).save_pretrained(folder)
    exported.components["language_model"] = f"transformers.{type(language_model).__name__}"


@torch.no_grad()
def plain_language_model(core: AnyToAnyCore, exported: Exported) -> None:
    """Fold biases and merge LoRA, all of it, into the core's language model, in place; note what is not in it."""
    prompts, config = core.gated_prompts, core.config
    language_model: Any = core.language_model
    if config.bias_tuning is not None:
        llama_adapter_v2.fold(language_model)
        exported.notes.append("Biases, scales and norms that were tuned are part of the language model.")
    if config.lora:
        merge_lora(language_model)
        exported.merged = sorted(config.lora["target_modules"])
    crossed = sorted(set(exported.merged) & set(PROMPT_PROJECTIONS))
    if crossed and prompts.reads_media:
        exported.notes.append(
            f"LoRA on {' and '.join(crossed)} is merged as well. Media pass through these projections without LoRA, so "
            "the merged language model is exact for text alone: media need the folder core and the language model "
            f"before the merge (sha256 {exported.sha256['language_model'][:12]})."
        )
    if prompts.static_tokens:
        exported.notes.append(
            f"{prompts.static_tokens} static prompts in each of the last {prompts.static_layers} layers have no place "
            "in a plain language model: they are left out, and its answers differ from the model's."
        )
    added = len(core.table.names)
    exported.notes.append(
        f"The vocabulary is the base's: the {added} placeholders and signal tokens, by which media come in and are "
        "asked for, are in the folder core."
    )
