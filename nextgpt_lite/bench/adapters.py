"""What gated prompts cost in decoding: milliseconds a token with all of them active, against the plain model."""

import resource
import statistics
import time
from typing import Any

import torch
from transformers import LlamaConfig

from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_parts import PromptStore
from nextgpt_lite.model import AnyToAnyCore

#: The most that prompts may add to the time of a token.
LIMIT = 1.08
#: A prompt of 32 ids and one medium, then this many tokens a round.
PROMPT, TOKENS, ROUNDS = 32, 16, 7
SIZES: dict[str, Any] = {
    "vocab_size": 8000,
    "hidden_size": 1024,
    "intermediate_size": 2752,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "max_position_embeddings": 512,
}


def run(sizes: dict[str, Any] | None = None, tokens: int = TOKENS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Decode with the plain model and with static and media prompts in every layer, in turns; medians of ``rounds``.

    Returns:
        Milliseconds a token of both, ``slower`` (their ratio, the median over rounds), its limit, threads, peak memory.
    """
    core = prompted_core(LlamaConfig(**(SIZES if sizes is None else sizes)))
    seconds: dict[str, list[float]] = {"plain": [], "prompted": []}
    for number in range(rounds + 1):
        plain, prompted = decode_plain(core, tokens), decode_prompted(core, tokens)
        if number:  # the first round warms up
            seconds["plain"].append(plain / tokens)
            seconds["prompted"].append(prompted / tokens)
    ratios = [b / a for a, b in zip(seconds["plain"], seconds["prompted"], strict=True)]
    return {
        "plain_milliseconds": 1e3 * statistics.median(seconds["plain"]),
        "prompted_milliseconds": 1e3 * statistics.median(seconds["prompted"]),
        "slower": statistics.median(ratios),
        "limit": LIMIT,
        "holds": statistics.median(ratios) <= LIMIT,
        "tokens": tokens * rounds,
        "threads": torch.get_num_threads(),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def prompted_core(text_config: LlamaConfig) -> AnyToAnyCore:
    """Ten static prompts in all layers but the first, and a medium that every token sees in all layers; gates open."""
    torch.manual_seed(0)
    layers = text_config.num_hidden_layers
    config = CoreConfig(
        text_config=text_config,
        first_added_token=text_config.vocab_size,
        embedding_width=64,
        bind={"inner_width": 64, "blocks": 1},
        prompts={"static_tokens": 10, "static_layers": layers - 1, "keys": True, "reach": "row"},
    )
    core = AnyToAnyCore(config).eval()
    with torch.no_grad():
        core.gated_prompts.static_gate.fill_(0.3)
        core.gated_prompts.media_gate.fill_(0.3)
    return core


def decode_plain(core: AnyToAnyCore, tokens: int) -> float:
    """Seconds that the language model needs for ``tokens`` tokens with its own attention, prompt not counted."""
    model = core.language_model
    registered = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    seconds = _decode(model, tokens, core.table.first)
    model.set_attn_implementation(registered)
    return seconds


def decode_prompted(core: AnyToAnyCore, tokens: int) -> float:
    """As :func:`decode_plain`, by the core with its gated prompts."""
    media, mask = torch.ones(1, 1, core.config.embedding_width), torch.ones(1, 1, dtype=torch.bool)
    inputs = {"media_embeddings": media, "media_mask": mask, "prompt_store": PromptStore()}
    return _decode(core, tokens, core.table.first, **inputs)


@torch.no_grad()
def _decode(model: Any, tokens: int, vocabulary: int, **inputs: Any) -> float:
    """Seconds for ``tokens`` greedy tokens below ``vocabulary``."""
    output = model(torch.arange(PROMPT)[None], use_cache=True, logits_to_keep=1, **inputs)
    started = time.perf_counter()
    for _ in range(tokens):
        inputs |= {"past_key_values": output.past_key_values}
        token = output.logits[:, -1:, :vocabulary].argmax(-1)
        output = model(token, use_cache=True, logits_to_keep=1, **inputs)
    return time.perf_counter() - started
