"""ImageBind at full size with random weights: bf16 weights against fp32, tower by tower, on this machine's CPU.

    nextgpt-lite bench encode

Twice as fast is to be expected where the CPU multiplies bf16 itself (avx512_bf16, amx_bf16); without, slower.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from encoders.imagebind import ImageBind, ImageBindConfig

MODALITIES = ("vision", "audio", "text")
EXPECTED_SPEEDUP, EXPECTED_COSINE = 1.9, 0.9995
ROUNDS = 3


def run(modalities: Sequence[str] = MODALITIES, config: ImageBindConfig | None = None, rounds: int = ROUNDS) -> dict:
    """Milliseconds a medium, their ratio, and the cosine between both embeddings, by tower and in all."""
    config = ImageBindConfig.huge() if config is None else config
    torch.manual_seed(0)
    towers = {name: of_tower(config, name, rounds) for name in modalities}
    in_all = {key: sum(tower[key] for tower in towers.values()) for key in ("fp32_milliseconds", "bf16_milliseconds")}
    return {
        "threads": torch.get_num_threads(),
        "bf16_instructions": bf16_instructions(),
        **towers,
        **in_all,
        "speedup": in_all["fp32_milliseconds"] / in_all["bf16_milliseconds"],
        "expected_speedup": EXPECTED_SPEEDUP,
        "cosine": min(tower["cosine"] for tower in towers.values()),
        "expected_cosine": EXPECTED_COSINE,
    }


@torch.no_grad()
def of_tower(config: ImageBindConfig, modality: str, rounds: int) -> dict[str, float]:
    """One tower alone, so that the largest decides the memory: both copies of it are held, in turns they run."""
    alone = ImageBindConfig(config.shared_width, {modality: config.towers[modality]})
    exact, light = ImageBind(alone).eval(), ImageBind(alone).eval()
    light.load_state_dict(exact.state_dict())
    light.to_bfloat16(torch.bfloat16)
    x = one_medium(alone, modality)
    outputs, seconds = {}, {"fp32": float("inf"), "bf16": float("inf")}
    for model_round in range(rounds + 1):  # the first is not timed: kernels and memory are set up in it
        for name, model in (("fp32", exact), ("bf16", light)):
            started = time.perf_counter()
            outputs[name] = model.unit(modality, x)
            if model_round:
                seconds[name] = min(seconds[name], time.perf_counter() - started)
    bytes_held = {name: sum(p.numel() * p.element_size() for p in m.parameters()) for name, m in
                  (("fp32", exact), ("bf16", light))}  # fmt: skip
    return {
        "fp32_milliseconds": 1000 * seconds["fp32"],
        "bf16_milliseconds": 1000 * seconds["bf16"],
        "speedup": seconds["fp32"] / seconds["bf16"],
        "fp32_mib": bytes_held["fp32"] / 2**20,
        "bf16_mib": bytes_held["bf16"] / 2**20,
        "cosine": float(torch.cosine_similarity(outputs["fp32"], outputs["bf16"]).min()),
    }


def one_medium(config: ImageBindConfig, modality: str) -> torch.Tensor:
    """Random input of one medium: an image, an audio clip, a text of full length, ..."""
    shape = config.towers[modality].input_shape
    if modality == "text":
        return torch.randint(config.towers["text"].vocabulary, (1, *shape))
    return torch.randn(1, *((shape[0], *shape[2:]) if modality == "vision" else shape))


def bf16_instructions() -> str:
    """Which bf16 instructions the CPU has, by Linux's own list."""
    listed = Path("/proc/cpuinfo")
    known = set(listed.read_text().split()) if listed.is_file() else set()
    return " ".join(sorted(known & {"avx512_bf16", "amx_bf16"})) or "none"
