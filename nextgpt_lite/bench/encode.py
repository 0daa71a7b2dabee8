"""ImageBind at full size with random weights: bf16 weights against fp32, tower by tower, on this machine's CPU.

    nextgpt-lite bench encode

Twice as fast is to be expected where the CPU multiplies bf16 itself (avx512_bf16, amx_bf16); without, slower.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from encoders.imagebind import ImageBind, ImageBindConfig
from nextgpt_lite.bench.measure import fastest

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
    light.hold_in(torch.bfloat16)
    models = {"fp32": exact, "bf16": light}
    x = one_medium(alone, modality)
    outputs = [model.unit(modality, x) for model in models.values()]  # also the first call of each
    works = {name: partial(model.unit, modality, x) for name, model in models.items()}
    seconds = fastest(works, rounds)
    figures = {f"{name}_milliseconds": 1000 * seconds[name] for name in models}
    for name, model in models.items():
        figures[f"{name}_mib"] = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    figures["speedup"] = seconds["fp32"] / seconds["bf16"]
    return figures | {"cosine": float(torch.cosine_similarity(outputs[0], outputs[1]).min())}


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
