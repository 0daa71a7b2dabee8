"""The other form of ImageBind-LLM's injection: gated media features added to the word tokens (2309.03905, Eq. 2).

Before decoder layer j, T_W becomes T_W + g_j T_I: g_j is one number, zero at the start, without a tanh; T_I is what the
bind network makes of the medium. The released code does otherwise (:mod:`adapters.gated_prompts`).
Shapes: B batch, T tokens, M media of a row, D model width.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from adapters.gated_prompts import PromptBatch


def attach(language_model: nn.Module) -> None:
    """Let every decoder layer of a causal LM add the media of its ``prompt_batch``; without one nothing changes.

    Hooks do it, so no class is patched; saving, PEFT and gradient checkpointing do not notice.
    """
    for index, layer in enumerate(decoder_layers(language_model)):
        layer.register_forward_pre_hook(partial(_add_media, index), with_kwargs=True)


def decoder_layers(language_model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a causal LM of transformers. ValueError where they are not to be found."""
    decoder = language_model.get_decoder()
    for name in ("layers", "h"):
        if isinstance(getattr(decoder, name, None), nn.ModuleList):
            return getattr(decoder, name)
    raise ValueError(f"no decoder layers in {type(decoder).__name__}: expected a module list named layers or h")


def word_term(batch: PromptBatch, layer: int) -> torch.Tensor:
    """What a layer adds to its input (B, T, D): the mean of the media that each token sees, times the layer's gate."""
    seen = batch.visibility.to(batch.media.dtype)  # (B, T, M)
    mean = torch.where(batch.visibility.any(1)[..., None], batch.media, 0.0)  # what nobody sees may be anything
    mean = seen @ mean / seen.sum(-1, keepdim=True).clamp_min(1)
    return mean * batch.prompts.media_gate[layer - batch.prompts.first_media_layer].to(mean)


def _add_media(index: int, layer: nn.Module, arguments: tuple, keywords: dict[str, Any]):
    batch: PromptBatch | None = keywords.get("prompt_batch")
    if batch is None or not batch.any_visible or batch.prompts.injection != "words":
        return None
    if not batch.prompts.has_media(index):
        return None
    hidden, *others = arguments
    return (hidden + word_term(batch, index).to(hidden), *others), keywords
