"""LLaMA-Adapter's published weights (2303.16199, 2304.15010): V1, V2 with images, V2 as chat model in shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.strict import read_settings, setting
from encoders import Encoder, class_name, load_encoder
from nextgpt_lite.released_weights.base import Base, Request, open_base
from nextgpt_lite.released_weights.clip_tower import projection_width, write_tower
from nextgpt_lite.released_weights.files import (
    Published,
    Shapes,
    Tensors,
    only_file,
    read_file,
    shape_of,
    weight_files,
)
from nextgpt_lite.released_weights.llama_layout import (
    gate_shapes,
    linear_shapes,
    lora_shapes,
    norm_shapes,
    prompt_sizes,
)
from nextgpt_lite.released_weights.meta_llama import BLOCKS, read_shards, translate
from nextgpt_lite.released_weights.vocabulary import check_norms
from nextgpt_lite.weight_files import CheckpointError

#: Linears that have a bias in V2 with images and in ImageBind-LLM, and all of them.
BIASED, ALL = ("wq", "wo", "w1", "w2", "w3"), ("wq", "wk", "wv", "wo", "w1", "w2", "w3")
BIASED_TARGETS = ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROMPTS = "adapter_query.weight"


@dataclass(frozen=True)
class TextSettings:
    """What a file of V1 or of the chat model may leave open."""

    prompt_tokens: int | None = setting(None, low=1, help="prompts of a layer, where the file's name does not say it")


@dataclass(frozen=True)
class VisualSettings:
    """What a file of V2 with images leaves open."""

    visual_heads: int = setting(16, low=1, help="heads of the visual blocks; 16 in all published weights")


@dataclass(frozen=True)
class Variant:
    """What stands beside the weights of V2 with images."""

    w_bias: bool = setting(False)
    w_lora: bool = setting(False)
    lora_rank: int = setting(16, low=1)
    w_new_gate: bool | None = setting(None)

    @property
    def gate_scale(self) -> bool:
        """Whether there is a second gate; older files do not say it, and have one with LoRA."""
        return self.w_lora if self.w_new_gate is None else self.w_new_gate

    @property
    def words(self) -> str:
        """What is there, for sentences."""
        lora = f"w_lora of rank {self.lora_rank}" if self.w_lora else "no w_lora"
        return f"{'w_bias' if self.w_bias else 'no w_bias'} and {lora}"


def build_v1(request: Request, folder: Path) -> None:
    """``adapter_query.weight`` (L K, D) and ``layers.N.attention.gate``."""
    settings = read_settings(TextSettings, request.settings, "llama_adapter_v1")
    base = open_base(request, folder, "alpaca")
    published = read_file(only_file(request.sources))
    prompts, expected = _static(published, base, settings.prompt_tokens)
    published.check(expected, base.needs)
    tensors = _translated(published.tensors, base, prompts["static_tokens"])
    base.write_core(base.text_fields() | {"prompts": prompts}, tensors)


def build_chat(request: Request, folder: Path) -> None:
    """Scales on the input and biases of all linears, norms, and, where they were trained, prompts; in shards."""
    settings = read_settings(TextSettings, request.settings, "llama_adapter_v2_chat")
    base = open_base(request, folder, "separator")
    paths = weight_files(request.sources)
    published = Published(f"{paths[0]}" + (f" and {len(paths) - 1} more" if paths[1:] else ""), read_shards(paths))
    expected = linear_shapes(base.sizes, ALL, "_bias", 0) | linear_shapes(base.sizes, ALL, "_scale", 1)
    expected |= norm_shapes(base.sizes) | gate_shapes(base.sizes, published, 0)
    prompts: dict[str, Any] = {"media_tokens": 0}
    if PROMPTS in published.tensors:
        prompts, more = _static(published, base, settings.prompt_tokens)
        expected |= more
    published.check(expected, base.needs)
    check_norms(published.tensors, base, published.where)
    tensors = _translated(published.tensors, base, prompts.get("static_tokens", 1))
    base.end_at("###")
    base.write_core(base.text_fields() | {"prompts": prompts, "bias_tuning": {"scale": "input"}}, tensors)


def build_v2(request: Request, folder: Path) -> None:
    """``BIAS-7B.pth`` and ``LORA-BIAS-7B.pth``: prompts that the image's tokens are added to, biases, norms, LoRA."""
    settings = read_settings(VisualSettings, request.settings, "llama_adapter_v2")
    base = open_base(request, folder, "alpaca")
    published = read_file(only_file(request.sources)).renamed({"llma.": "llama."})
    where, tensors = published.where, published.tensors
    variant = read_settings(Variant, published.beside.get("config", {}), f"{where}: config")
    visual, expected = _visual_shapes(published, _tower_width(base), base, settings.visual_heads)
    prompts, more = _static(published, base, visual["tokens"], "llama.")
    published.check(expected | more | _variant_shapes(variant, base, list(more)), f"{base.needs} with {variant.words}")
    if variant.w_bias:
        check_norms(tensors, base, where, "llama.")
    prompts |= {"media_added": True, "gate_scale": variant.gate_scale}
    tower = _tower(base)
    fields = tuned_fields(variant.w_bias, variant.lora_rank if variant.w_lora else 0)
    fields |= {"input_modalities": ["image"], "signal_tokens": {}, "input_tokens": 0, "visual": visual}
    fields |= {"embedding_width": tower.width, "encoder_identity": tower.identity, "prompts": prompts}
    base.write_core(fields, _translated(tensors, base, visual["tokens"]))


def _variant_shapes(variant: Variant, base: Base, names: list[str]) -> Shapes:
    """Second gates beside those in ``names``, biases with norms, LoRA: what the variant has of them."""
    shapes: Shapes = {}
    if variant.gate_scale:
        gates = [name.replace(".gate", ".new_gate") for name in names if name.endswith(".gate")]
        shapes |= dict.fromkeys(gates, (1, 1, 1, 1))
    if variant.w_bias:
        shapes |= linear_shapes(base.sizes, BIASED, ".bias", 0, "llama.") | norm_shapes(base.sizes, "llama.")
    if variant.w_lora:
        shapes |= lora_shapes(base.sizes, variant.lora_rank, "llama.")
    return shapes


def tuned_fields(biases: bool, rank: int) -> dict[str, Any]:
    """Fields of a core with V2's biases, its norms trained too, and with LoRA of a rank; it has no other alpha."""
    tuning = {"scale": "none", "targets": BIASED_TARGETS} if biases else None
    lora = {"r": rank, "lora_alpha": rank, "target_modules": LORA_TARGETS} if rank else None
    return {"bias_tuning": tuning, "lora": lora}


def _static(
    published: Published, base: Base, length: int | None, prefix: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of static prompts, and the shapes of prompts and gates."""
    rows, _ = shape_of(published, PROMPTS, 2, "its rows are the prompts of all adapted layers")
    tokens, layers = prompt_sizes(published, base.sizes, rows, length)
    prompts = {"media_tokens": 0, "static_tokens": tokens, "static_layers": layers, "reach": "row"}
    return prompts, {PROMPTS: (rows, base.sizes.width), **gate_shapes(base.sizes, published, layers, prefix)}


def _translated(tensors: Tensors, base: Base, prompt_tokens: int) -> Tensors:
    sizes = base.sizes
    return translate(
        tensors,
        layers=sizes.layers,
        heads=sizes.heads,
        key_value_heads=sizes.key_value_heads,
        prompt_tokens=prompt_tokens,
    )


def _tower_width(base: Base) -> int:
    """Of the tokens of CLIP's tower. CheckpointError where the base has none."""
    if base.has("vision_tower"):
        if (found := class_name(base.path("vision_tower"))) != "OpenClipVision":
            raise CheckpointError(f"{base.source}: the vision tower is {found}, expected OpenClipVision")
        return load_encoder(base.path("vision_tower")).width
    if not base.has("encoder"):
        raise CheckpointError(f"{base.source} has no encoder, and these weights read CLIP's tokens")
    return projection_width(base.path("encoder"), str(base.source))


def _tower(base: Base) -> Encoder:
    """CLIP's tower of all tokens: the base's own, or made of its encoder."""
    base.place()
    if not base.has("vision_tower"):
        write_tower(base.path("encoder"), base.path("vision_tower"), str(base.source))
    return load_encoder(base.path("vision_tower"))


def _visual_shapes(published: Published, patch: int, base: Base, heads: int) -> tuple[dict[str, Any], dict]:
    """The settings of the visual path, and its shapes by what the file says of its width and blocks."""
    queries, inner = shape_of(published, "visual_query.weight", 2, "its rows are the queries of an image")
    numbers = {name.split(".")[1] for name in published.part("visual_blocks.")}
    blocks = len(numbers)
    if inner % heads:
        raise CheckpointError(f"{published.where}: visual blocks of width {inner} cannot have {heads} heads")
    if not blocks:
        raise CheckpointError(f"{published.where} lacks the key 'visual_blocks.0.norm1.weight': it has no visual block")
    sizes = {
        "attn.qkv.weight": (3 * inner, inner), "attn.qkv.bias": (3 * inner,), "attn.proj.weight": (inner, inner),
        "mlp.fc1.weight": (4 * inner, inner), "mlp.fc1.bias": (4 * inner,), "mlp.fc2.weight": (inner, 4 * inner),
    }  # fmt: skip
    width = base.sizes.width
    shapes: dict[str, Any] = {"visual_query.weight": (queries, inner)}
    for block in range(blocks):
        shapes |= {f"visual_blocks.{block}.{name}": sizes.get(name, (inner,)) for name in BLOCKS}
    shapes |= {"clip_proj.weight": (inner, patch), "visual_proj.weight": (width, inner)}
    for name, length in (("clip_proj", inner), ("visual_proj", width)):
        shapes |= {f"{name}{part}": (length,) for part in (".bias", "_norm.weight", "_norm.bias")}
    return {"tokens": queries, "inner_width": inner, "blocks": blocks, "heads": heads}, shapes
