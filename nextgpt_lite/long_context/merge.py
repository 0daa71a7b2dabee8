"""Adapters of long-context training; merging them into their language model, and the core's LoRA into its base.

    adapter_config.json, adapter_model.safetensors    LoRA, as peft writes and reads it
    trainable_params.safetensors                      embeddings and norms, whole
    positions.json                                    rope_parameters and max_position_embeddings

LongLoRA's published folders are the first two as ``.bin``; they say nothing of positions. They are read with
``weights_only=True``: what is not a tensor is refused, never executed. The position scaling of the training is written
into the merged model's configuration: without it, the model would generate nonsense beyond its old length.
"""

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from adapters.llama_adapter_v2 import fold
from adapters.long_context import positions_of, scale_positions
from data.atomic import atomic_folder, write_json
from nextgpt_lite.language_models import load_language_model, read_config
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.weight_files import CheckpointError, copy_tensors, read_tensors, refuse_code

LORA, WHOLE, POSITIONS = "adapter_model", "trainable_params", "positions.json"
PREFIX = "base_model.model."


def save_adapter(model: nn.Module, config: PretrainedConfig, lora: dict[str, Any], whole: list[str], folder: Path):
    """Write the LoRA injected into ``model``, its parameters named ``whole``, and the positions of ``config``."""
    parameters = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    trained = {PREFIX + n.replace(".default.", "."): p for n, p in parameters.items() if ".lora_" in n}
    kept = {PREFIX + name: parameters[name].clone() for name in whole}
    with atomic_folder(folder) as temporary:
        save_file(trained, temporary / f"{LORA}.safetensors", {"format": "pt"})
        save_file(kept, temporary / f"{WHOLE}.safetensors", {"format": "pt"})
        LoraConfig(**lora, task_type="CAUSAL_LM").save_pretrained(str(temporary))
        write_json(temporary / POSITIONS, positions_of(config))


def adapter_tensors(folder: Path, name: str) -> dict[str, torch.Tensor] | None:
    """Tensors of ``name``, in safetensors or ``.bin``, the prefix cut off; None where there is no such file."""
    for path in (folder / f"{name}.safetensors", folder / f"{name}.bin"):
        if path.is_file():
            return {key.removeprefix(PREFIX): value for key, value in read_tensors(path).items()}
    return None


def stored_positions(folder: Path) -> dict[str, Any] | None:
    """Positions that an adapter was trained on, or None where it does not say."""
    path = folder / POSITIONS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


#: What a language model's folder holds besides weights and configuration.
COMPANIONS = ("token*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "generation_config.json")
#: Projections that gated prompts pass through without LoRA.
PROMPT_PROJECTIONS = ("k_proj", "v_proj")
#: The most rows by which an adapter's embeddings may exceed those of the base: of padding and the like.
MAX_ADDED_ROWS = 64
#: The number of a layer in a parameter's name.
LAYER = re.compile(r"\.\d+\.")


def merge_adapter(base: Path, adapter: Path, out: Path, length: int | None = None, scaling: str = "linear") -> Path:
    """Merge the adapter folder into the causal LM in ``base`` and write the whole model to ``out``.

    The positions are the adapter's own or, where it does not store them, those of ``length`` tokens by ``scaling``.
    Products are made in float32, weights are written in the base's type. CheckpointError for keys that are missing,
    unknown or wrongly shaped, for a folder ``out`` that exists, and where nothing says what the positions are.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists already: give a new folder")
    refuse_code(base)
    stored_type: Any = read_config(base).dtype or torch.float32
    model = merged_model(base, adapter, length, scaling).to(stored_type)
    with atomic_folder(out) as temporary:
        model.save_pretrained(temporary)
        for path in {path for pattern in COMPANIONS for path in base.glob(pattern)}:
            shutil.copy2(path, temporary / path.name)
    return out


def merged_model(base: Path, adapter: Path, length: int | None = None, scaling: str = "linear") -> PreTrainedModel:
    """The causal LM in ``base`` with the adapter merged, in float32; for what is refused see :func:`merge_adapter`."""
    config = read_config(base)
    whole = adapter_tensors(adapter, WHOLE) or {}
    set_positions(config, adapter, length, scaling, required=bool(whole))
    model = load_language_model(base, config)
    grow_vocabulary(model, whole)
    load_adapter(model, adapter, whole)
    merge_lora(model)
    return model


@torch.no_grad()
def grow_vocabulary(model: PreTrainedModel, whole: dict[str, torch.Tensor]) -> None:
    """Rows for the few tokens that an adapter's embeddings have more than the model, in place.

    Output rows, which no adapter has, are the mean of the others there, as LongLoRA's code leaves them.
    """
    inputs: Any = model.get_input_embeddings()
    rows, width = inputs.weight.shape
    embedding = next((value for name, value in whole.items() if name.endswith("embed_tokens.weight")), None)
    if embedding is None or embedding.shape[1:] != (width,) or not rows < len(embedding) <= rows + MAX_ADDED_ROWS:
        return
    model.resize_token_embeddings(len(embedding), mean_resizing=False)
    output: Any = model.get_output_embeddings()
    output.weight[rows:] = output.weight[:rows].mean(0)


def set_positions(config: PretrainedConfig, adapter: Path, length: int | None, scaling: str, required: bool) -> None:
    """Give ``config`` the positions that the adapter was trained on; said twice or not at all is an error."""
    stored = stored_positions(adapter)
    if stored is not None and length is not None:
        raise CheckpointError(f"{adapter} stores its positions: a length of {length} cannot be given as well")
    if stored is not None:
        for name, value in stored.items():
            setattr(config, name, value)
    elif length is not None:
        scale_positions(config, length, scaling)
    elif required:
        raise CheckpointError(f"{adapter} does not say on what positions it was trained: give the length")


def load_adapter(model: PreTrainedModel, adapter: Path, whole: dict[str, torch.Tensor]) -> None:
    """Put an adapter folder's LoRA and whole parameters on the model, in place; keys are checked."""
    settings = adapter / "adapter_config.json"
    lora = adapter_tensors(adapter, LORA)
    if lora is None or not settings.is_file():
        raise CheckpointError(f"{adapter} is no adapter: expected adapter_config.json and {LORA}.safetensors")
    saved = json.loads(settings.read_text(encoding="utf-8")).get("modules_to_save")
    config: Any = LoraConfig.from_pretrained(str(adapter))
    config.modules_to_save = None  # whole modules are copied below: nothing needs a second copy beside the first
    with warnings.catch_warnings():  # what is tied stays tied: embeddings are merged in place
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        with no_init_weights():  # every weight is read below
            inject_adapter_in_model(config, model)
    own = {name.replace(".default.", "."): p for name, p in model.named_parameters()}
    missing = sorted(name for name in own if ".lora_" in name and name not in lora)
    missing += [n for n in saved or () if not any(f".{n}." in f".{k}" for k in lora)]
    given = lora.keys() | whole.keys()
    kinds = {LAYER.sub(".", name) for name in given if LAYER.search(name)}  # what one layer has, all layers must have
    missing += sorted(n for n in own if n not in given and LAYER.search(n) and LAYER.sub(".", n) in kinds)
    if missing:
        raise CheckpointError(f"{adapter} lacks the key {missing[0]!r}")
    in_lora_layers = {name.replace(".base_layer.", "."): p for name, p in own.items()}
    copy_tensors(lora | whole, own | in_lora_layers, adapter, complete=False)


def merge_lora(model: nn.Module, keep: tuple[str, ...] = ()) -> int:
    """Merge every LoRA layer into its base layer, in place, but those named ``keep``; returns how many."""
    merged = [(name, layer) for name, layer in _lora_layers(model) if name.rpartition(".")[2] not in keep]
    for name, layer in merged:
        layer.merge(safe_merge=True)  # refuses weights that are not finite
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    if not keep:
        vars(model).pop("peft_config", None)  # peft's note of what is gone: it would warn of it when LoRA is added anew
    return len(merged)


def merge_core(core: AnyToAnyCore) -> None:
    """Merge the core's LoRA and bias tuning into its language model, in place, exactly.

    Gated prompts pass through the frozen key and value projections without LoRA: where there are prompts, LoRA stays
    on those two. Afterwards the language model is another one: save it with the core (checkpoint.save_language_model).
    ValueError where there is nothing to merge, or where the language model has no place for a bias.
    """
    if core.config.lora is None and core.config.bias_tuning is None:
        raise CheckpointError("the core has nothing to merge: it has neither LoRA nor bias tuning")
    if core.config.bias_tuning is not None:
        fold(core.language_model)  # before LoRA: merged first, its product would be scaled too
        core.config.bias_tuning, core.config.text_config = None, core.language_model.config
    if core.config.lora is None:
        return
    has_prompts = any(True for _ in core.gated_prompts.parameters())
    merge_lora(core.language_model, keep=PROMPT_PROJECTIONS if has_prompts else ())
    left = {name.rpartition(".")[2] for name, _ in _lora_layers(core.language_model)}
    core.config.lora = {**core.config.lora, "target_modules": sorted(left)} if left else None


def _lora_layers(model: nn.Module) -> list[tuple[str, BaseTunerLayer]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)]
