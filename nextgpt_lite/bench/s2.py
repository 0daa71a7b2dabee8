"""Shifted sparse attention (LongLoRA) against dense causal SDPA: one Llama attention layer, forward and backward.

    nextgpt-lite bench s2

Both run the registered attention function on the same layer, float32, one CPU thread, in turns.
"""

from collections.abc import Callable

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

from adapters import attention as gated_attention
from adapters.long_context import ShiftedAttention
from nextgpt_lite.bench.measure import fastest, peak_bytes, threads

LENGTHS = (2048, 8192, 16384)
WIDTH, HEADS = 256, 4
#: Tokens over all rounds of a measurement; there are three rounds at least.
TOKENS = 24_576
#: What the paper's mechanism must be worth, by length.
EXPECTED_SPEEDUP = {2048: 1.5, 8192: 2.3, 16384: 3.2}


def run() -> dict:
    """Seconds, peak MiB and their ratios for each row length."""
    torch.manual_seed(0)
    with threads(1):
        return {"layer": f"width {WIDTH}, {HEADS} heads, float32, 1 thread"} | {str(n): at_length(n) for n in LENGTHS}


def at_length(length: int) -> dict[str, float]:
    works: dict[str, Callable[[], object]] = {
        name: step(length, form) for name, form in (("dense", None), ("split", "split"))
    }
    mebibytes = {name: peak_bytes(work) / 2**20 for name, work in works.items()}  # also the first call of each
    seconds = fastest(works, max(3, TOKENS // length))
    figures = {f"{name}_seconds": seconds[name] for name in works} | {f"{name}_mib": mebibytes[name] for name in works}
    figures["speedup"] = seconds["dense"] / seconds["split"]
    if length in EXPECTED_SPEEDUP:
        figures["expected_speedup"] = EXPECTED_SPEEDUP[length]
    return figures | {"memory_ratio": mebibytes["split"] / mebibytes["dense"]}


def step(length: int, form: str | None) -> Callable[[], None]:
    """Forward and backward pass of one layer over one row."""
    config = LlamaConfig(hidden_size=WIDTH, num_attention_heads=HEADS, max_position_embeddings=length)
    config._attn_implementation = gated_attention.register()
    layer = LlamaAttention(config, layer_idx=0).train()
    row = torch.randn(1, length, WIDTH, requires_grad=True)
    angles = LlamaRotaryEmbedding(config)(row, torch.arange(length)[None])
    shifted = None if form is None else ShiftedAttention(form).batch(length)

    def work() -> None:
        output, _ = layer(row, position_embeddings=angles, attention_mask=None, shifted_attention=shifted)
        output.sum().backward()
        layer.zero_grad(set_to_none=True)
        row.grad = None

    return work
