"""Positions beyond those of pretraining, through transformers' own ``rope_parameters``.

``linear`` is position interpolation (LongLoRA; 2306.15595, Eq. 4); ``yarn`` (2309.00071) and ``dynamic``
(NTK-aware, by the length at hand) are the usual alternatives. ``max_position_embeddings`` keeps the meaning that
transformers gives it: the pretraining length under linear and dynamic scaling, the extended one under YaRN.
"""

import math
from typing import Any

from transformers import PretrainedConfig

SCALINGS = ("linear", "yarn", "dynamic")


def context_length(config: PretrainedConfig) -> int:
    """Positions that a language model's configuration provides for, its scaling included."""
    parameters = _parameters(config)
    if parameters["rope_type"] in ("linear", "dynamic"):
        return round(config.max_position_embeddings * parameters["factor"])
    return config.max_position_embeddings


def scale_positions(config: PretrainedConfig, length: int, scaling: str = "linear") -> None:
    """Make ``config`` provide for ``length`` positions, in place; a length that it has already changes nothing.

    The factor is whole, ``ceil(length / present length)``, times the factor that the model was trained with. Load or
    build the model with the changed configuration: its frequencies are made then. ValueError for an unknown scaling
    and for a model that is scaled in another way already.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"unknown scaling {scaling!r} of positions: expected one of {', '.join(SCALINGS)}")
    parameters, present = _parameters(config), context_length(config)
    if parameters["rope_type"] not in ("default", scaling):
        raise ValueError(f"positions are scaled as {parameters['rope_type']!r} already and cannot become {scaling!r}")
    if length <= present:
        return
    parameters["factor"] = float(parameters.get("factor", 1.0) * math.ceil(length / present))
    parameters["rope_type"] = scaling
    if scaling == "yarn":
        original = parameters.setdefault("original_max_position_embeddings", config.max_position_embeddings)
        config.max_position_embeddings = round(original * parameters["factor"])


def positions_of(config: PretrainedConfig) -> dict[str, Any]:
    """What :func:`scale_positions` may have changed, to be stored beside an adapter."""
    return {name: getattr(config, name) for name in ("rope_parameters", "max_position_embeddings")}


def _parameters(config: PretrainedConfig) -> dict[str, Any]:
    """Rotary settings of the layers that see the whole row; others (sliding windows) need no scaling."""
    parameters = getattr(config, "rope_parameters", None)
    if not parameters:
        raise ValueError(f"a {config.model_type!r} model has no rope_parameters: its positions cannot be scaled")
    return parameters.get("full_attention", parameters)
