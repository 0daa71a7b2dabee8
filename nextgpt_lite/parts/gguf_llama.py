"""A Llama in GGUF to a LlamaForCausalLM folder of transformers: weights in bfloat16, tokenizer, chat template.

It is read by the package gguf, which is there only while parts are converted.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from nextgpt_lite.parts.writing import write_object, write_tensors

#: Names in GGUF -> names in transformers.
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL = 3  #: the type of tokens that no text contains


def convert(content: bytes, out: Path) -> None:
    """Write the model of the GGUF file ``content`` to ``out``."""
    from gguf import GGUFReader  # pyright: ignore[reportMissingImports]  # on the path for this conversion alone
    from gguf.quants import dequantize  # pyright: ignore[reportMissingImports]  # the same

    with tempfile.NamedTemporaryFile(suffix=".gguf", dir=out) as file:  # the reader maps a file into memory
        file.write(content)
        file.flush()
        reader = GGUFReader(file.name)
        values = {name: field.contents() for name, field in reader.fields.items()}
        heads = {"q": values["llama.attention.head_count"], "k": values["llama.attention.head_count_kv"]}
        tensors = ((t.name, torch.from_numpy(np.array(dequantize(t.data, t.tensor_type)))) for t in reader.tensors)
        weights = {rename(name): arrange(name, value, heads).to(torch.bfloat16) for name, value in tensors}
        write_tensors(out / "model.safetensors", weights)
        tied = all(t.name != "output.weight" for t in reader.tensors)
    tokens = {kind: values[f"tokenizer.ggml.{kind}_token_id"] for kind in ("bos", "eos", "padding", "unknown")}
    ids = {f"{kind}_token_id": tokens[kind] for kind in ("bos", "eos")} | {"pad_token_id": tokens["padding"]}
    write_object(out / "config.json", _config(values, tied) | ids)
    write_object(out / "generation_config.json", ids)
    _write_tokenizer(values, tokens, out)


def rename(name: str) -> str:
    """``"blk.3.attn_q.weight"`` -> ``"model.layers.3.self_attn.q_proj.weight"``."""
    if block := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name):
        return f"model.layers.{block[1]}.{BLOCK[block[2]]}.weight"
    return f"{TOP[name.removesuffix('.weight')]}.weight"


def arrange(name: str, weight: torch.Tensor, heads: dict[str, int]) -> torch.Tensor:
    """GGUF rotates neighbouring channels of a head, transformers its two halves: rows of queries and keys move.

    ``weight`` (channels, width), ``heads`` how many "q" and "k" have.
    """
    kind = re.search(r"attn_([qk])\.", name)
    if not kind:
        return weight
    pairs = weight.reshape(heads[kind[1]], -1, 2, weight.shape[1])  # (heads, pairs, 2, width)
    return pairs.transpose(1, 2).reshape(weight.shape)


def _config(values: dict[str, Any], tied: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": values["llama.embedding_length"],
        "intermediate_size": values["llama.feed_forward_length"],
        "max_position_embeddings": values["llama.context_length"],
        "num_attention_heads": values["llama.attention.head_count"],
        "num_hidden_layers": values["llama.block_count"],
        "num_key_value_heads": values["llama.attention.head_count_kv"],
        "rms_norm_eps": float(f"{values['llama.attention.layer_norm_rms_epsilon']:.6g}"),  # stored as float32
        "rope_parameters": {"rope_type": "default", "rope_theta": values["llama.rope.freq_base"]},
        "tie_word_embeddings": tied,
        "vocab_size": values["llama.vocab_size"],
    }


def _write_tokenizer(values: dict[str, Any], tokens: dict[str, int], out: Path) -> None:
    """Byte-level BPE in which each digit is a token, which is what GGUF calls "smollm"."""
    if values["tokenizer.ggml.pre"] != "smollm":
        raise ValueError(f"unknown way to split text: {values['tokenizer.ggml.pre']!r}, expected 'smollm'")
    words = values["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in values["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = values["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [AddedToken(w, special=True, normalized=False) for w, t in zip(words, types, strict=True) if t == CONTROL]
    )
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(values["tokenizer.chat_template"], encoding="utf-8")
    names = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": values["llama.context_length"]}
    write_object(out / "tokenizer_config.json", settings | {key: words[tokens[kind]] for key, kind in names.items()})
