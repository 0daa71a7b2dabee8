"""The core's input and output projections, by the names that its configuration gives."""

from __future__ import annotations

from typing import Any

from torch import nn

from adapters import INPUT_PROJECTIONS, OUTPUT_PROJECTIONS, PATCH_PROJECTIONS
from nextgpt_lite.config import CoreConfig

#: Input projections by what they read of a medium.
FEATURES = {"pooled": INPUT_PROJECTIONS, "patches": PATCH_PROJECTIONS}


def build_input_projection(config: CoreConfig) -> nn.Module | None:
    """The input projection that ``config`` names; None where media speak through gated prompts alone."""
    if not config.input_projection:
        return None
    kinds = _chosen("kind of input features", config.input_features, FEATURES)
    kind = _chosen("input projection", config.input_projection, kinds)
    if config.visual and config.input_features == "pooled":
        raise ValueError("with visual, media come in as tokens: expected input_features 'patches', not 'pooled'")
    widths = config.embedding_width, config.text_config.hidden_size
    if config.input_features == "pooled":
        return kind(*widths, config.input_tokens, **config.input_projection_settings)
    projection = kind(*widths, **config.input_projection_settings)
    if projection.tokens not in (None, config.input_tokens):
        raise ValueError(
            f"input projection {config.input_projection!r} gives {projection.tokens} tokens a medium, "
            f"input_tokens is {config.input_tokens}"
        )
    return projection


def build_output_projections(config: CoreConfig) -> dict[str, nn.Module]:
    """The output projection of each output modality."""
    kind = _chosen("output projection", config.output_projection, OUTPUT_PROJECTIONS)
    made = {}
    for modality, shape in config.conditions.items():
        settings = dict(config.output_projection_settings)
        if config.output_projection == "linear":
            settings["signal_tokens"] = config.signal_tokens[modality]
        made[modality] = kind(config.text_config.hidden_size, (shape[0], shape[1]), **settings)
    return made


def _chosen(what: str, name: str, kinds: dict[str, Any]) -> Any:
    if name not in kinds:
        raise ValueError(f"unknown {what} {name!r}: expected one of {', '.join(kinds)}")
    return kinds[name]
