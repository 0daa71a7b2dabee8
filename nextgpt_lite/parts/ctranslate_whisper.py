"""Whisper in CTranslate2's layout to a WhisperForConditionalGeneration folder of transformers, with its processor.

A file of CTranslate2 (little endian): version, name and revision of the layout, then each variable (name, sizes, type,
bytes) and each alias of one.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from nextgpt_lite.parts.writing import write_object, write_tensors

LAYOUT = (6, "WhisperSpec", 3)
DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
#: How names begin in CTranslate2 -> in transformers.
BEGINNINGS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings": "embed_tokens",
}
ENDINGS = {"gamma": "weight", "beta": "bias"}
#: Fused projections: what they consist of, in order.
FUSED = {
    "self_attention/linear_0": ("self_attn", "qkv"),
    "attention/linear_1": ("encoder_attn", "kv"),
}
SPECIAL = {"eos": "<|endoftext|>", "start": "<|startoftranscript|>", "plain": "<|notimestamps|>"}


def convert(content: bytes, settings: dict[str, Any], tokenizer: dict[str, Any], out: Path) -> None:
    """Write the model to ``out``. ``settings`` and ``tokenizer`` are CTranslate2's config.json and tokenizer.json."""
    variables = dict(read_variables(content))
    weights = {name: value for key, variable in variables.items() for name, value in rename(key, variable)}
    write_tensors(out / "model.safetensors", weights)
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    start, eos = ids[SPECIAL["start"]], ids[SPECIAL["eos"]]
    tokens = {"decoder_start_token_id": start, "bos_token_id": eos, "eos_token_id": eos, "pad_token_id": eos}
    write_object(out / "config.json", _config(weights, int(variables["encoder/num_heads"])) | tokens)
    write_object(out / "generation_config.json", _generation(settings, ids, weights) | tokens)
    write_object(out / "preprocessor_config.json", _preprocessor(weights))
    write_object(out / "tokenizer.json", tokenizer)
    names = {f"{kind}_token": SPECIAL["eos"] for kind in ("bos", "eos", "pad", "unk")}
    write_object(out / "tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer", **names})


def read_variables(content: bytes) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of a model.bin. ValueError where it has another layout."""
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        [value] = struct.unpack_from(f"<{kind}", content, place)
        place += struct.calcsize(kind)
        return value

    def text() -> str:
        nonlocal place
        length = number("H")
        place += length
        return content[place - length : place - 1].decode()  # it ends with a zero

    layout = (number("I"), text(), number("I"))
    if layout != LAYOUT:
        raise ValueError(f"unknown layout of CTranslate2: {layout}, expected {LAYOUT}")
    for _ in range(number("I")):
        name, shape = text(), [number("I") for _ in range(number("B"))]
        dtype, size = DTYPES[number("B")], number("I")
        yield name, torch.frombuffer(bytearray(content[place : place + size]), dtype=dtype).reshape(shape)
        place += size


def rename(key: str, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """A variable under its names in transformers; fused projections are split, flags give nothing."""
    if "/" not in key or value.ndim == 0 or key == "decoder/alignment_heads":
        return
    side, _, rest = key.partition("/")
    layer = re.match(r"layer_(\d+)/", rest)
    prefix = f"model.{side}." + (f"layers.{layer[1]}." if layer else "")
    rest = rest[layer.end() :] if layer else rest
    for fused, (attention, kinds) in FUSED.items():
        if rest.startswith(f"{fused}/"):
            ending = rest.removeprefix(f"{fused}/")
            for kind, chunk in zip(kinds, value.chunk(len(kinds)), strict=True):
                if (kind, ending) != ("k", "bias"):  # Whisper's keys have no bias: it is zero here
                    yield f"{prefix}{attention}.{kind}_proj.{ending}", chunk
            return
    beginning = next((old for old in BEGINNINGS if rest.startswith(old)), "")
    rest = BEGINNINGS.get(beginning, "") + rest.removeprefix(beginning)
    *path, ending = rest.split("/")
    yield prefix + ".".join([*path, ENDINGS.get(ending, ending)]), value


def _config(weights: dict[str, torch.Tensor], heads: int) -> dict[str, Any]:
    vocabulary, width = weights["model.decoder.embed_tokens.weight"].shape
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": "float16",
        "d_model": width,
        "num_mel_bins": weights["model.encoder.conv1.weight"].shape[1],
        "max_source_positions": len(weights["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(weights["model.decoder.embed_positions.weight"]),
        "vocab_size": vocabulary,
    }
    for side in ("encoder", "decoder"):
        layers = {key.split(".")[3] for key in weights if key.startswith(f"model.{side}.layers.")}
        config[f"{side}_layers"], config[f"{side}_attention_heads"] = len(layers), heads
        config[f"{side}_ffn_dim"] = len(weights[f"model.{side}.layers.0.fc1.bias"])
    return config | {"num_hidden_layers": config["encoder_layers"]}


def _generation(settings: dict[str, Any], ids: dict[str, int], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {
        "max_length": len(weights["model.decoder.embed_positions.weight"]),
        "no_timestamps_token_id": ids[SPECIAL["plain"]],
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "alignment_heads": settings["alignment_heads"],
        "is_multilingual": False,
        "return_timestamps": False,
    }


def _preprocessor(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """16 kHz, 30 s, frames of 10 ms: twice as many as the encoder's positions."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": weights["model.encoder.conv1.weight"].shape[1],
        "sampling_rate": 16000,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "padding_value": 0.0,
    }
