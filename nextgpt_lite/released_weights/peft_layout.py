"""LoRA as peft writes it beside published weights: its settings, and the names and shapes of its matrices."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.strict import read_json, read_settings, setting
from nextgpt_lite.released_weights.base import Base
from nextgpt_lite.released_weights.files import Published, Shapes, Tensors
from nextgpt_lite.released_weights.meta_llama import LINEARS
from nextgpt_lite.weight_files import CheckpointError

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
#: Linears by their last name -> their place in a layer and what Meta calls them.
PLACES = {own.rpartition(".")[2]: (own, meta.rpartition(".")[2]) for meta, own in LINEARS.items()}
#: Settings of peft that change what LoRA computes, and the values with which nothing changes.
PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",), "fan_in_fan_out": (False, None), "use_dora": (False, None), "modules_to_save": (None, []),
    "rank_pattern": (None, {}), "alpha_pattern": (None, {}), "layers_to_transform": (None, []), "peft_type": ("LORA",),
    "lora_bias": (False, None),
}  # fmt: skip


@dataclass(frozen=True)
class Lora:
    """What is taken of an ``adapter_config.json``."""

    r: int = setting(low=1)
    lora_alpha: float = setting(above=0)
    target_modules: list[str] = setting(choices=tuple(PLACES))
    use_rslora: bool = setting(False)

    @property
    def settings(self) -> dict[str, Any]:
        """Those of peft.LoraConfig."""
        own = {"r": self.r, "lora_alpha": self.lora_alpha, "target_modules": sorted(self.target_modules)}
        return own | ({"use_rslora": True} if self.use_rslora else {})


def read_lora(path: Path) -> Lora:
    """The settings in ``adapter_config.json``. CheckpointError for a setting by which LoRA computes something else."""
    values = read_json(path)
    for name, plain in PLAIN.items():
        if name in values and values[name] not in plain:
            raise CheckpointError(f"{path}: {name} is {json.dumps(values[name])}, expected {json.dumps(plain[0])}")
    known = {name: values[name] for name in Lora.__dataclass_fields__ if values.get(name) is not None}
    return read_settings(Lora, known, str(path))


def lora_shapes(base: Base, lora: Lora, prefix: str = f"{PREFIX}model.", adapter: str = "") -> Shapes:
    """Both matrices of every linear that LoRA is on; ``adapter`` is its name where names hold it (``.default``)."""
    shapes: Shapes = {}
    for layer in range(base.sizes.layers):
        for place, meta in (PLACES[name] for name in lora.target_modules):
            outputs, inputs = base.sizes.linear(meta)
            own = f"{prefix}layers.{layer}.{place}"
            shapes[f"{own}.lora_A{adapter}.weight"] = (lora.r, inputs)
            shapes[f"{own}.lora_B{adapter}.weight"] = (outputs, lora.r)
    return shapes


def lora_tensors(published: Published, prefix: str = PREFIX) -> Tensors:
    """LoRA's matrices under the core's names."""
    own: Tensors = {}
    for name, value in published.tensors.items():
        if ".lora_" in name:
            place = name.removeprefix(prefix).removesuffix(".weight").removesuffix(".default")
            own[f"language_model.{place}.default.weight"] = value
    return own
