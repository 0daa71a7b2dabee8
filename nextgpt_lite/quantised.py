"""QLoRA (2305.14314): a frozen language model in 4 bits under trained adapters. Needs bitsandbytes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig, PreTrainedModel


class QuantisationError(ValueError):
    """A model that cannot be held in 4 bits here, with a sentence that says why."""


def four_bits() -> BitsAndBytesConfig:
    """The paper's settings: 4-bit NormalFloat, constants quantised again, bfloat16 products."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def load_quantised(folder: str | Path, config: PretrainedConfig | None = None) -> PreTrainedModel:
    """A causal LM in 4 bits, all frozen, its norms in float32. QuantisationError where bitsandbytes is not there."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise QuantisationError(
            "loading in 4 bits needs bitsandbytes, which is not installed: pip install 'nextgpt-lite[quant]'"
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        quantization_config=four_bits(),
        dtype=torch.bfloat16,
        local_files_only=True,
        use_safetensors=True,
    )
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
