"""Which language models the core can be built on, and how they are loaded: in full, or in 4 bits.

The core needs a causal LM of transformers that dispatches its attention (``AttentionInterface``) to layers with
``k_proj`` and ``v_proj`` of their own, through which gated prompts pass. Any other model is refused by name: it would
run, and answer as if there were no media.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from data.pretrained import load_whole
from data.strict import SettingsError, read_json
from nextgpt_lite.weight_files import CheckpointError, refuse_code, require_folder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

#: Names of the class of tokenizers that are their ``tokenizer.json``, of which there are two.
PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
#: Factors on logits that the core does not know; a model that uses one is refused.
LOGIT_FACTORS = ("logit_scale", "logits_scaling")
#: QLoRA's settings (2305.14314): 4-bit NormalFloat, constants quantised again, bfloat16 products.
FOUR_BITS: dict[str, Any] = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": torch.bfloat16,
}
#: Settings of bitsandbytes by the precision that they give; what is not quantised is bfloat16 then.
QUANTISED: dict[str, dict[str, Any]] = {"int4": FOUR_BITS, "int8": {"load_in_8bit": True}}
#: How a language model can be held, and the type in which it computes.
PRECISIONS: dict[str, torch.dtype] = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
    **dict.fromkeys(QUANTISED, torch.bfloat16),
}  # fmt: skip


def read_config(folder: Path) -> PretrainedConfig:
    """The configuration of the language model in ``folder``. CheckpointError where there is none."""
    require_folder(folder, "language model")
    from transformers import AutoConfig  # imported late, as the models below: most of transformers comes with them

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``. CheckpointError where there is none."""
    require_folder(folder, "tokenizer")
    if _is_plain_tokenizer(folder):  # what AutoTokenizer finds too, after it has looked at the model's configuration
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _is_plain_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer is its ``tokenizer.json`` and nothing else."""
    path = folder / "tokenizer_config.json"
    try:
        named = read_json(path).get("tokenizer_class") if path.is_file() else None
    except SettingsError:
        return False  # transformers says what is wrong with it
    return named in PLAIN_TOKENIZERS and (folder / "tokenizer.json").is_file()


def dtype_of(precision: str) -> torch.dtype:
    """The type in which a model of this precision computes. ValueError for a precision that there is not."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


class QuantisationError(ValueError):
    """A model that cannot be held in 4 or 8 bits here, with a sentence that says why."""


def load_language_model(
    folder: str | Path, config: PretrainedConfig | None = None, precision: str = "float32", **options: Any
) -> PreTrainedModel:
    """A causal LM from safetensors in a precision of :data:`PRECISIONS`; quantised, all of it is frozen and its norms
    are in float32.

    ``config`` takes the place of the folder's own. ``options`` are from_pretrained's; with ``device_map="meta"`` the
    weights are checked, and none is read. CheckpointError for weights that are missing, damaged or of another shape,
    QuantisationError where bitsandbytes is not installed.
    """
    require_folder(Path(folder), "language model")
    refuse_code(Path(folder))
    dtype = dtype_of(precision)
    if precision not in QUANTISED:
        return _read_whole(Path(folder), config=config, dtype=dtype, **options)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise QuantisationError(
            f"precision {precision!r} needs bitsandbytes, which is not installed: "
            "pip install -e '.[quant]' in the project's folder"
        )
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    options["quantization_config"] = BitsAndBytesConfig(**QUANTISED[precision])
    model = _read_whole(Path(folder), config=config, dtype=dtype, **options)
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def _read_whole(folder: Path, **options: Any) -> PreTrainedModel:
    """The causal LM in ``folder``. CheckpointError where it lacks a weight: Transformers would make one up."""
    from transformers import AutoModelForCausalLM

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
