"""A model's language model as one file of llama.cpp: LoRA merged, biases folded, tokenizer and chat template in it.

As in :mod:`nextgpt_lite.export.folders` it answers text; media need the model folder. Llama rotates neighbouring pairs
of coordinates there, so the rows of its q and k are in another order than in Transformers.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from data.atomic import atomic_file
from nextgpt_lite.checkpoint import CheckpointError, component, model_hash, read_manifest
from nextgpt_lite.core_checkpoint import CONTEXT_ADAPTER, load_core
from nextgpt_lite.export.folders import Exported, import_extra, plain_language_model
from nextgpt_lite.language_models import read_tokenizer

#: ``model_type`` of Transformers -> the architecture of llama.cpp that computes the same.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
#: Types of matrices; vectors are float32 always.
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#: Regular expression of a byte-level tokenizer -> what llama.cpp calls it.
SPLITS = {_SHORT + _WORDS % "{1,3}": "llama-bpe", _SHORT + _WORDS % "": "qwen2"}


def export_gguf(folder: Path, out: Path, dtype: str = "float16") -> Exported:
    """Write the language model of the model in ``folder`` to the file ``out``, atomically.

    ``dtype`` is a key of :data:`TYPES`. CheckpointError for a model or tokenizer that llama.cpp has no name for, an
    ``out`` that exists, and where the package gguf is not installed.
    """
    gguf = import_extra("gguf")
    if out.exists():
        raise CheckpointError(f"{out} exists already: give a new file")
    if dtype not in TYPES:
        raise CheckpointError(f"dtype {dtype!r} is unknown: expected one of {', '.join(TYPES)}")
    manifest = read_manifest(folder)
    exported = Exported(manifest["name"], model_hash(manifest), dtype)
    exported.sha256 = {name: entry["sha256"] for name, entry in manifest["components"].items()}
    sources = {name: component(folder, manifest, name) for name in ("core", "language_model", "tokenizer")}
    adapter = component(folder, manifest, CONTEXT_ADAPTER) if CONTEXT_ADAPTER in manifest["components"] else None
    core = load_core(sources["core"], sources["language_model"], adapter=adapter)
    plain_language_model(core, exported)
    model: Any = core.language_model
    architecture = ARCHITECTURES.get(model.config.model_type)
    if architecture is None:
        known = ", ".join(ARCHITECTURES)
        raise CheckpointError(f"llama.cpp's name of {model.config.model_type!r} is not known here: expected {known}")
    if model.config.hidden_act != "silu":
        raise CheckpointError(f"llama.cpp computes {architecture} with 'silu', not with {model.config.hidden_act!r}")
    tokenizer = read_tokenizer(sources["tokenizer"])
    tokens = _tokenizer_fields(tokenizer, model.config.vocab_size)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        writer.add_name(manifest["name"])
        _add_sizes(writer, gguf, model.config)
        for add, value in tokens.items():
            getattr(writer, f"add_{add}")(value)
        for name, value in _tensors(model, architecture, gguf):
            _add_tensor(writer, gguf, name, value, TYPES[dtype])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    exported.components["language_model"] = f"llama.cpp {architecture}"
    return exported


def _add_sizes(writer: Any, gguf: Any, config: Any) -> None:
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    rope = config.rope_parameters
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(getattr(gguf.RopeScalingType, kind.upper()))
        writer.add_rope_scaling_factor(rope["factor"])
        if original := rope.get("original_max_position_embeddings"):
            writer.add_rope_scaling_orig_ctx_len(original)
    elif kind == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(rope, width))
    elif kind != "default":
        raise CheckpointError(f"positions of type {kind!r} have no form in llama.cpp: expected default or linear")


def _llama3_factors(rope: dict[str, Any], width: int) -> np.ndarray:
    """By what Llama 3.1 divides each frequency."""
    frequencies = rope["rope_theta"] ** (-np.arange(0, width, 2) / width)
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)  # in the trained context
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def _tensors(model: Any, architecture: str, gguf: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The model's weights by llama.cpp's names. CheckpointError for one that has none there."""
    config = model.config
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads or config.num_attention_heads}
    tied = getattr(config, "tie_word_embeddings", False)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if own is None:
            raise CheckpointError(f"llama.cpp's {architecture} has no place for {name!r}")
        linear = name.split(".")[-2]
        if architecture == "llama" and linear in heads:
            value = _pairs(value, heads[linear])
        yield own, value


def _pairs(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Output rows (H * head width, ...) in the order of two halves -> of neighbouring pairs."""
    width = rows.shape[0] // heads
    return rows.reshape(heads, 2, width // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def _add_tensor(writer: Any, gguf: Any, name: str, value: torch.Tensor, kind: str) -> None:
    array = value.detach().float().contiguous().numpy()
    if array.ndim < 2 or (kind == "Q8_0" and array.shape[-1] % 32):
        kind = "F32"
    chosen = gguf.GGMLQuantizationType[kind]
    writer.add_tensor(name, gguf.quants.quantize(array, chosen), raw_dtype=chosen)


def _tokenizer_fields(tokenizer: PreTrainedTokenizerBase, rows: int) -> dict[str, Any]:
    """Names of GGUFWriter's ``add_`` methods -> values. CheckpointError for a tokenizer that llama.cpp has not."""
    backend: Any = tokenizer.backend_tokenizer  # pyright: ignore[reportAttributeAccessIssue]  # of fast tokenizers
    description = json.loads(backend.to_str())
    model = description["model"]
    if model.get("type") != "BPE":
        raise CheckpointError(f"a tokenizer of type {model.get('type')!r} has no form in llama.cpp: expected BPE")
    pieces = [str(tokenizer.convert_ids_to_tokens(number)) for number in range(len(tokenizer))]
    added = {token["id"]: token["special"] for token in description["added_tokens"]}
    sentencepiece = bool(model.get("byte_fallback"))
    fields: dict[str, Any] = {
        "token_types": [_type(number, piece, added, tokenizer) for number, piece in enumerate(pieces)]
    }
    unused = [f"[UNUSED{number}]" for number in range(len(pieces), rows)]
    fields["token_types"] += [5] * len(unused)
    fields["token_list"] = pieces + unused
    if sentencepiece:  # whose pieces stand in the order in which they are merged
        fields |= {
            "tokenizer_model": "llama",
            "token_scores": [-float(n) for n in range(rows)],
            "tokenizer_pre": "default",
        }
        fields["add_space_prefix"] = True
    else:
        merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
        fields |= {"tokenizer_model": "gpt2", "tokenizer_pre": _split(description), "token_merges": merges}
    first = tokenizer("a")["input_ids"][0]
    fields["add_bos_token"] = tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id
    for name in ("bos", "eos", "unk", "pad"):
        if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
            fields[f"{name}_token_id"] = number
    if isinstance(tokenizer.chat_template, str):
        fields["chat_template"] = tokenizer.chat_template
    return fields


def _type(number: int, piece: str, added: dict[int, bool], tokenizer: PreTrainedTokenizerBase) -> int:
    """llama.cpp's kinds of tokens: 1 normal, 2 unknown, 3 control, 4 of the user, 6 a byte."""
    if number == tokenizer.unk_token_id:
        return 2
    if number in added:
        return 3 if added[number] else 4
    return 6 if piece.startswith("<0x") and piece.endswith(">") and len(piece) == 6 else 1


def _split(description: dict[str, Any]) -> str:
    """What llama.cpp calls the way in which a byte-level tokenizer parts text into words."""
    steps = description["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    pattern = steps[0].get("pattern", {}).get("Regex") if kinds == ["Split", "ByteLevel"] else None
    if pattern in SPLITS:
        return SPLITS[pattern]
    raise CheckpointError(f"a tokenizer that splits by {'+'.join(map(str, kinds))} has no name in llama.cpp")
