"""NExT-GPT's projections as their weights show them: kinds and sizes, and the shapes that follow from these."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from nextgpt_lite.config import CoreConfig, build_input_projection, build_output_projections
from nextgpt_lite.released_weights.files import Published, Shapes, shape_of
from nextgpt_lite.weight_files import CheckpointError


def input_sizes(published: Published, prefix: str, heads: int) -> tuple[str, dict[str, Any]]:
    """The input projection's kind (a name in adapters.PATCH_PROJECTIONS) and its settings."""
    own = {name.removeprefix(prefix): value for name, value in published.tensors.items() if name.startswith(prefix)}
    if "weight" in own:
        return "linear", {}
    if "layer.0.weight" in own:
        return "mlp", {}
    inner, _ = shape_of(published, f"{prefix}in_fc.weight", 2, "it has no linear, mlp or grouping input projection")
    stages = {int(found[1]) for name in own if (found := re.match(r"layers\.(\d+)\.", name))}
    depths, tokens, groups = [], [], []
    for stage in sorted(stages):
        depths.append(len({name.split(".")[3] for name in own if name.startswith(f"layers.{stage}.blocks.")}))
        learned = own.get(f"layers.{stage}.group_token")
        tokens.append(0 if learned is None or learned.ndim != 3 else learned.shape[1])
        left = own.get(f"layers.{stage}.downsample.mlp_inter.fc2.bias")
        groups += [] if left is None else [len(left)]
    if len(groups) != len(stages) - 1 or not groups:
        raise CheckpointError(
            f"{published.where}: the grouping of {prefix!r} has {len(stages)} stages and {len(groups)} groupings, "
            "expected one fewer than stages"
        )
    _check_heads(published, f"{prefix}in_fc.weight", inner, heads)
    return "group", {"inner_width": inner, "depths": depths, "heads": heads, "group_tokens": tokens, "groups": groups}


def output_sizes(published: Published, prefix: str, heads: int) -> tuple[str, tuple[int, int], dict[str, Any]]:
    """An output projection's kind, the condition (L, C) that it makes, and its settings."""
    width, _ = shape_of(published, f"{prefix}in_fc.weight", 2, "it has no output projection there")
    channels, _ = shape_of(published, f"{prefix}out_fc.weight", 2, "it has no output projection there")
    _check_heads(published, f"{prefix}in_fc.weight", width, heads)
    former = f"{prefix}query_tokens" in published.tensors
    query = f"{prefix}{'query_tokens' if former else 'query_embs'}"
    condition = shape_of(published, query, 3, "it is none of NExT-GPT's transformers")[1], channels
    if former:
        layer = f"{prefix}Qformer.bert.encoder.layer."
        inner, _ = shape_of(
            published, f"{layer}0.intermediate_query.dense.weight", 2, "it is the Q-Former's first layer"
        )
        count = _count(published, layer)
        crossed = [n for n in range(count) if any(k.startswith(f"{layer}{n}.cross") for k in published.tensors)]
        every = crossed[1] - crossed[0] if len(crossed) > 1 else count
        sizes = {"width": width, "heads": heads, "layers": count, "feed_forward": inner}
        return "qformer", condition, sizes | {"cross_attention_every": every}
    inner, _ = shape_of(published, f"{prefix}tfm.encoder.layers.0.linear1.weight", 2, "it is the first encoder layer")
    layers = {f"{part}_layers": _count(published, f"{prefix}tfm.{part}.layers.") for part in ("encoder", "decoder")}
    return "transformer", condition, {"width": width, "heads": heads, "feed_forward": inner, **layers}


def projection_shapes(
    language_model: PretrainedConfig, fields: Mapping[str, Any], inputs: str, outputs: Mapping[str, str]
) -> Shapes:
    """Published names and shapes of the projections of a core with these fields."""
    config = CoreConfig(text_config=language_model, **fields)
    with torch.device("meta"):
        reading, writing = build_input_projection(config), build_output_projections(config)
    assert reading is not None  # each of NExT-GPT's has one
    own = "out." if config.input_features == "pooled" else ""
    shapes = {inputs + name.removeprefix(own): value for name, value in reading.state_dict().items()}
    for modality, projection in writing.items():
        shapes |= {outputs[modality] + name: value for name, value in projection.state_dict().items()}
    return {name: tuple(value.shape) for name, value in shapes.items()}


def _check_heads(published: Published, name: str, width: int, heads: int) -> None:
    if width % heads:
        raise CheckpointError(
            f"{published.where}: {published.in_file(name)!r} has {width} rows, which cannot be parted into {heads} "
            "heads"
        )


def _count(published: Published, prefix: str) -> int:
    """How many numbered parts there are behind ``prefix``."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in published.tensors if name.startswith(prefix)})
