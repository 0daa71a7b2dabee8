"""Checkpoints in Meta's layout of Llama, and of the adapters that were published for it -> this project's names.

The released weights of LLaMA-Adapter V1, V2 (7B multimodal, 65B chat) use Meta's names and Meta's rotary embedding,
which turns neighbouring pairs of coordinates. Transformers turns the first half against the second, so the output rows
of the q and k projections change their order: those of the weights, of the biases, and of LoRA's second matrices. The
prompts' keys go through the same projection and need nothing more.

    tensors = read_shards(paths)
    load(core, translate(tensors, layers=32, heads=32))
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml

from nextgpt_lite.core_checkpoint import trained_state
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.weight_files import CheckpointError, copy_tensors, read_tensors

Tensors = dict[str, torch.Tensor]

#: Names in Meta's layout -> ours: linears and norms of a block, what is outside blocks, V2's visual path, its blocks.
LINEARS, NORMS, OUTSIDE, VISUAL, BLOCKS = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
).values()
LAYER = re.compile(r"layers\.(\d+)\.(.+)")
LINEAR = re.compile(r"(attention|feed_forward)\.(?:lora_)?(w[qkvo123])(?:_(l1|l2))?(?:\.(weight|bias)|_(bias|scale))")
#: Axis along which shards split what belongs to a linear: one split by its input (wo, w2), and one by its output.
AXES = {"l1": (1, None), "l2": (None, 0), "weight": (1, 0), "bias": (None, 0), "scale": (0, None)}
#: The same of what is no linear, by the end of its name; gates are (1, H, 1, 1).
AXES_OUTSIDE = {"tok_embeddings.weight": 1, "output.weight": 0, ".gate": 1}
#: Buffers that some files carry; transformers computes its own.
BUFFERS = ("rope.freqs", "freqs_cis")


def half_split(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Output rows (H * head width, ...) in the order of neighbouring pairs -> in the order of two halves."""
    width = rows.shape[0] // heads
    return rows.reshape(heads, width // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def translate(
    tensors: Mapping[str, torch.Tensor],
    *,
    layers: int,
    heads: int,
    key_value_heads: int | None = None,
    prompt_tokens: int = 10,
) -> Tensors:
    """A state dict of Llama or of one of its adapters -> names of :class:`AnyToAnyCore`.

    Args:
        tensors: base weights, adapter weights or both; keys may start with ``llama.`` (or ``llma.``, as early
            files have it). The CLIP tower (``clip.``) is left out: see :func:`clip_weights`.
        layers: of the language model.
        heads: query heads; ``key_value_heads`` where it has fewer of those.
        prompt_tokens: K, the prompts of a layer; the number of adapted layers follows from the stored rows.

    Raises:
        CheckpointError: naming a key that is none of the known ones.
    """
    state = {re.sub(r"^(llama|llma)\.", "", name): value for name, value in tensors.items()}
    has_lora = any(".lora_w" in name for name in state)
    gates: dict[str, dict[int, torch.Tensor]] = {"gate": {}, "new_gate": {}}
    found: Tensors = {}
    adapted = state["adapter_query.weight"].shape[0] // prompt_tokens if "adapter_query.weight" in state else 0
    for name, value in state.items():
        in_layer = LAYER.fullmatch(name)
        if name in BUFFERS or name.startswith("clip."):
            continue
        if in_layer and in_layer[2] in ("attention.gate", "attention.new_gate"):
            gates[in_layer[2].rpartition(".")[2]][int(in_layer[1])] = value.flatten()
        elif in_layer:
            own, rows = _in_layer(in_layer[2], value, heads, key_value_heads or heads, has_lora)
            found[f"language_model.model.layers.{in_layer[1]}.{own}"] = rows
        elif name == "adapter_query.weight":
            found["gated_prompts.static_prompt"] = value.reshape(adapted, prompt_tokens, -1)
        else:
            found[_outside(name)] = value
    return found | _gates(gates, layers, adapted, heads)


def clip_weights(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The CLIP vision tower of a state dict, as encoders.open_clip.OpenClipVision.load takes it."""
    return {n.removeprefix("clip.visual."): value for n, value in tensors.items() if n.startswith("clip.visual.")}


def load(core: AnyToAnyCore, translated: Tensors, base: bool = False) -> None:
    """Put translated weights into a core, in place.

    The core must be built for them (``prompts``, ``visual``, ``bias_tuning``, ``lora`` of its configuration); what the
    adapters did not have (signal rows, output projections) stays as it is. ``base`` says that the language model's own
    weights are among them.

    Raises:
        CheckpointError: naming a key that is missing, unknown or wrongly shaped.
    """
    parts = ("language_model.", "gated_prompts.", "visual_prompts.")
    own = dict(core.named_parameters()) if base else trained_state(core)
    own = {name: parameter for name, parameter in own.items() if name.startswith(parts)}
    copy_tensors(translated, own, "the checkpoint")


def read_shards(paths: Sequence[Path | str]) -> Tensors:
    """Weights of one or several files (``consolidated.00.pth``, ...), the shards of a model put together.

    CheckpointError for a file that holds something else (nextgpt_lite.weight_files).
    """
    shards = [read_tensors(Path(path)) for path in paths]
    joined = {}
    for name in dict.fromkeys(name for shard in shards for name in shard):
        pieces = [shard[name] for shard in shards if name in shard]
        if len(pieces) != len(shards):
            lacking = next(path for path, shard in zip(paths, shards, strict=True) if name not in shard)
            raise CheckpointError(f"the key {name!r} is in {len(pieces)} of {len(shards)} shards: {lacking} lacks it")
        kinds = [f"{tuple(piece.shape)} of {str(piece.dtype).removeprefix('torch.')}" for piece in pieces]
        for path, kind in zip(paths, kinds, strict=True):
            if kind != kinds[0]:
                raise CheckpointError(f"{name!r} has shape {kinds[0]} in {paths[0]} and {kind} in {path}")
        axis = _split_axis(name)
        whole = axis is None or len(pieces) == 1 or axis >= pieces[0].ndim
        joined[name] = pieces[0] if whole else torch.cat(pieces, dim=axis or 0)
    return joined


def _split_axis(name: str) -> int | None:
    """Along which axis Meta's model-parallel shards split a tensor; None = each shard has all of it."""
    for ending, axis in AXES_OUTSIDE.items():
        if name.endswith(ending):
            return axis
    linear = LINEAR.fullmatch(LAYER.sub(r"\2", name.removeprefix("llama.")))
    if linear is None:
        return None
    _, weight, lora, kind, beside = linear.groups()
    by_input, by_output = AXES[lora or kind or beside]
    return by_input if weight in ("wo", "w2") else by_output


def _in_layer(name: str, value: torch.Tensor, heads: int, kv_heads: int, has_lora: bool) -> tuple[str, torch.Tensor]:
    """Name and rows of something in a block, relative to the block."""
    norm, _, rest = name.partition(".")
    if norm in NORMS and rest == "weight":
        return f"{NORMS[norm]}.weight", value
    linear = LINEAR.fullmatch(name)
    if linear is None or f"{linear[1]}.{linear[2]}" not in LINEARS:
        raise CheckpointError(f"unknown key {name!r} in a layer of the checkpoint")
    _, weight, lora, kind, beside = linear.groups()
    own = LINEARS[f"{linear[1]}.{weight}"]
    turned = weight in ("wq", "wk") and lora != "l1" and beside != "scale"
    rows = half_split(value, heads if weight == "wq" else kv_heads) if turned else value
    if lora is not None:
        return f"{own}.lora_{'A' if lora == 'l1' else 'B'}.default.weight", rows
    return f"{own}.{'base_layer.' if has_lora else ''}{kind or beside}", rows


def _outside(name: str) -> str:
    """Our name of something outside the blocks."""
    if name in OUTSIDE:
        return f"language_model.{OUTSIDE[name]}"
    if name == "visual_query.weight":
        return "visual_prompts.query"
    block = re.fullmatch(r"visual_blocks\.(\d+)\.(.+)", name)
    if block and block[2] in BLOCKS:
        return f"visual_prompts.blocks.{block[1]}.{BLOCKS[block[2]]}"
    part, _, kind = name.rpartition(".")
    if part in VISUAL and kind in ("weight", "bias"):
        return f"visual_prompts.{VISUAL[part]}.{kind}"
    raise CheckpointError(f"unknown key {name!r} in the checkpoint")


def _gates(gates: dict[str, dict[int, torch.Tensor]], layers: int, adapted: int, heads: int) -> Tensors:
    """Gates of the adapted layers, stacked; other layers' are never used. Early files have one scalar for all heads."""
    names = {"gate": "gated_prompts.static_gate", "new_gate": "gated_prompts.static_gate_scale"}
    found = {}
    for kind, own in names.items():
        if adapted and gates[kind]:
            missing = [layer for layer in range(layers - adapted, layers) if layer not in gates[kind]]
            if missing:
                raise CheckpointError(f"layer {missing[0]} has prompts but no {kind}")
            stacked = [gates[kind][layer] for layer in range(layers - adapted, layers)]
            rows = [gate.expand(heads) if kind == "gate" else gate.reshape(()) for gate in stacked]
            found[own] = torch.stack(rows)
    return found
