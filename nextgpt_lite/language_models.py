"""Which language models the core can be built on, and how they are loaded: in full, or in 4 bits.

The core needs a causal LM of transformers that dispatches its attention (``AttentionInterface``) to layers with
``k_proj`` and ``v_proj`` of their own, through which gated prompts pass. Any other model is refused by name: it would
run, and answer as if there were no media.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from peft import prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from data.pretrained import load_whole
from nextgpt_lite.weight_files import CheckpointError, refuse_code, require_folder

#: Factors on logits that the core does not know; a model that uses one is refused.
LOGIT_FACTORS = ("logit_scale", "logits_scaling")
#: QLoRA's settings (2305.14314): 4-bit NormalFloat, constants quantised again, bfloat16 products.
FOUR_BITS: dict[str, Any] = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": torch.bfloat16,
}


def read_config(folder: Path) -> PretrainedConfig:
    """The configuration of the language model in ``folder``. CheckpointError where there is none."""
    require_folder(folder, "language model")
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``. CheckpointError where there is none."""
    require_folder(folder, "tokenizer")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


class QuantisationError(ValueError):
    """A model that cannot be held in 4 bits here, with a sentence that says why."""


def load_language_model(
    folder: str | Path, config: PretrainedConfig | None = None, quantised: bool = False, **options: Any
) -> PreTrainedModel:
    """A causal LM in float32 from safetensors, or in 4 bits, all frozen, its norms in float32.

    ``config`` takes the place of the folder's own. ``options`` are from_pretrained's; with ``device_map="meta"`` the
    weights are checked, and none is read. CheckpointError for weights that are missing, damaged or of another shape,
    QuantisationError where bitsandbytes is not installed.
    """
    require_folder(Path(folder), "language model")
    refuse_code(Path(folder))
    if not quantised:
        return _read_whole(Path(folder), config=config, dtype=torch.float32, **options)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise QuantisationError(
            "loading in 4 bits needs bitsandbytes, which is not installed: "
            "pip install -e '.[quant]' in the project's folder"
        )
    options["quantization_config"] = BitsAndBytesConfig(**FOUR_BITS)
    model = _read_whole(Path(folder), config=config, dtype=torch.bfloat16, **options)
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def _read_whole(folder: Path, **options: Any) -> PreTrainedModel:
    """The causal LM in ``folder``. CheckpointError where it lacks a weight: Transformers would make one up."""
    try:
        return load_whole(AutoModelForCausalLM, folder, "language model", trust_remote_code=False, **options)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def check_language_model(model: PreTrainedModel) -> None:
    """Raise ValueError unless gated prompts reach every attention layer and logits are those of the output layer."""
    name, config = type(model).__name__, model.config
    if not model._supports_attention_backend:
        raise ValueError(
            f"{name} does not dispatch its attention, so gated prompts cannot reach it: expected a causal LM that "
            "does, such as Llama, Qwen3, Mistral, Gemma or Phi"
        )
    reached = sum(all(hasattr(m, part) for part in ("layer_idx", "k_proj", "v_proj")) for m in model.modules())
    if reached != config.num_hidden_layers:
        raise ValueError(
            f"{name} has k_proj and v_proj in {reached} of its {config.num_hidden_layers} layers, "
            "and gated prompts pass through them: expected one pair a layer"
        )
    if getattr(config, "attn_logit_softcapping", None):
        raise ValueError(f"{name} caps its attention scores, which fused attention cannot: expected no soft cap")
    for factor in LOGIT_FACTORS:
        if getattr(config, factor, None) not in (None, 1, 1.0):
            raise ValueError(f"{name} multiplies its logits ({factor} {getattr(config, factor)}): expected 1")
