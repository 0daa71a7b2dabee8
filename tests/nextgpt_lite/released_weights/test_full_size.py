"""At the published sizes: shapes of the layouts add up to the numbers of parameters that the papers give."""

from math import prod

import torch

from nextgpt_lite.released_weights.base import Sizes
from nextgpt_lite.released_weights.files import Published
from nextgpt_lite.released_weights.llama_adapter import BIASED
from nextgpt_lite.released_weights.llama_layout import (
    gate_shapes,
    linear_shapes,
    lora_shapes,
    norm_shapes,
    prompt_sizes,
)
from nextgpt_lite.released_weights.meta_checkpoint import Params

LLAMA_7B = Sizes(4096, 32, 32, 32, 11008)


def count(shapes: dict) -> int:
    return sum(prod(shape[0] if isinstance(shape, list) else shape) for shape in shapes.values())


def published(name: str, layers: range) -> Published:
    gates = {f"layers.{layer}.attention.gate": torch.empty(1, 32, 1, 1, device="meta") for layer in layers}
    return Published(name, gates)


def test_llama_adapter_v1_has_1_2_million():
    file = published("llama_adapter_len10_layer30_release.pth", range(2, 32))
    assert prompt_sizes(file, LLAMA_7B, 300) == (10, 30)
    assert count({"adapter_query.weight": (300, 4096)} | gate_shapes(LLAMA_7B, file, 30)) == 1_229_760


def test_lengths_follow_from_gates_or_are_those_of_all_published_files():
    assert prompt_sizes(published("adapter.pth", range(20, 32)), LLAMA_7B, 240) == (20, 12)
    assert prompt_sizes(published("adapter.pth", range(32)), LLAMA_7B, 300) == (10, 30)
    assert prompt_sizes(published("adapter.pth", range(32)), LLAMA_7B, 300, 50) == (50, 6)


def test_imagebind_llm_tunes_41_million():
    tuned = lora_shapes(LLAMA_7B, 16) | linear_shapes(LLAMA_7B, BIASED, ".bias", 0) | norm_shapes(LLAMA_7B)
    assert count(tuned) == 41_340_928  # 0.61 % of the whole


def test_sizes_of_metas_models():
    """The feed-forward of 7B, 65B and Llama 3 8B by the rule of params.json."""
    assert Params(dim=4096, n_layers=32, n_heads=32).sizes == LLAMA_7B
    assert Params(dim=8192, n_layers=80, n_heads=64).inner_width == 22016
    eight = Params(dim=4096, n_layers=32, n_heads=32, n_kv_heads=8, multiple_of=1024, ffn_dim_multiplier=1.3)
    assert (eight.inner_width, eight.sizes.linear("wk")) == (14336, (1024, 4096))
