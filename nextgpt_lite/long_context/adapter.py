"""Adapters of long-context training: LoRA, trained embeddings and norms, and the positions they were trained on.

    adapter_config.json, adapter_model.safetensors    LoRA, as peft writes and reads it
    trainable_params.safetensors                      embeddings and norms, whole
    positions.json                                    rope_parameters and max_position_embeddings

LongLoRA's published folders are the first two as ``.bin``; they say nothing of positions. They are read with
``weights_only=True``: what is not a tensor is refused, never executed.
"""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import nn
from transformers import PretrainedConfig

from adapters.rope_scaling import positions_of
from data.atomic import atomic_folder, write_json
from nextgpt_lite.weight_files import read_tensors

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
