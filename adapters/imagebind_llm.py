"""ImageBind-LLM's two ways of putting media into every layer (2309.03905, Sec. 3.2); the bind network makes the media.

- "attention", the released code's: a medium, plus a query of the layer, is one gated prompt without keys, added to the
  attention before ``o_proj`` (:func:`adapters.gated_prompts.prompt_attention`). The early fusion of LLaMA-Adapter V2
  (2304.15010, Sec. 4.3) is the same in the first layers, with keys.
- "words", the paper's Eq. 2: before decoder layer j, T_W becomes T_W + g_j T_I. g_j is one number, zero at the start,
  without a tanh; T_I is what the bind network makes of the medium.

Shapes: B batch, T tokens, M media of a row, H heads, D model width.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from adapters.gated_prompts import PromptBatch


class MediaPrompts(nn.Module):
    """Gates and queries of the layers that see media. A part of ``GatedPrompts``."""

    injection: str
    media_layers: int
    media_tokens: int
    first_media_layer: int
    media_gate: nn.Parameter
    layer_query: nn.Parameter

    def add_media_prompts(self, heads: int, width: int) -> None:
        """Create the parameters, where media have prompts; added to words they need one gate a layer alone."""
        if self.media_tokens and self.injection == "words":
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, 1))
        elif self.media_tokens:
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, heads))
            self.layer_query = nn.Parameter(torch.randn(self.media_layers, self.media_tokens, width) * 0.02)

    def has_media(self, layer: int) -> bool:
        """Whether a layer sees media of their own."""
        return bool(self.media_tokens) and 0 <= layer - self.first_media_layer < self.media_layers

    def media_prompts(self, layer: int, media: torch.Tensor) -> torch.Tensor:
        """T_I and the layer's query: media (B, M, D) or (B, M, tokens, D) -> prompts (B, M * tokens, D)."""
        tokens = media if media.ndim == 4 else media[:, :, None]
        return (tokens + self.layer_query[layer - self.first_media_layer].to(media)).flatten(1, 2)

    def media_gate_of(self, layer: int) -> torch.Tensor:
        """tanh of the layer's gates, one a head (H,), as released."""
        return torch.tanh(self.media_gate[layer - self.first_media_layer])


def attach_to_words(language_model: nn.Module) -> None:
    """Let every decoder layer of a causal LM add the media of its ``prompt_batch``; without one nothing changes.

    Hooks do it, so no class is patched; saving, PEFT and gradient checkpointing do not notice.
    """
    for index, layer in enumerate(decoder_layers(language_model)):
        layer.register_forward_pre_hook(partial(_add_media, index), with_kwargs=True)


def decoder_layers(language_model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a causal LM of transformers. ValueError where they are not to be found."""
    decoder: Any = getattr(language_model, "get_decoder")()  # noqa: B009  # a method of every causal LM
    for name in ("layers", "h"):
        if isinstance(getattr(decoder, name, None), nn.ModuleList):
            return getattr(decoder, name)
    raise ValueError(f"no decoder layers in {type(decoder).__name__}: expected a module list named layers or h")


def word_term(batch: PromptBatch, layer: int) -> torch.Tensor:
    """g_j T_I of Eq. 2, what a layer adds to its input (B, T, D): the mean of the media that each token sees."""
    media, visibility = batch.media, batch.visibility
    if media is None or visibility is None:
        raise ValueError("no media came in, so nothing can be added to the words")
    seen = visibility.to(media.dtype)  # (B, T, M)
    mean = torch.where(visibility.any(1)[..., None], media, 0.0)  # what no token sees may be anything
    mean = seen @ mean / seen.sum(-1, keepdim=True).clamp_min(1)
    return mean * batch.prompts.media_gate[layer - batch.prompts.first_media_layer].to(mean)


def _add_media(index: int, layer: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> tuple[tuple, dict] | None:
    batch: PromptBatch | None = keywords.get("prompt_batch")
    if batch is None or not batch.any_visible or batch.prompts.injection != "words":
        return None
    if not batch.prompts.has_media(index):
        return None
    hidden, *others = arguments
    return (hidden + word_term(batch, index).to(hidden), *others), keywords
