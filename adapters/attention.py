"""The one attention function that every language model here runs: text attention plus gated prompts.

It is registered with transformers under :data:`NAME`; any causal LM that dispatches its attention can use
it by ``attn_implementation=NAME``. The prompts arrive as the keyword ``prompt_batch`` through the model's own
forward, and so does ``shifted_attention``, by which a model trains on long rows. Without them the function is
exactly SDPA.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from adapters.gated_prompts import PromptBatch, prompt_attention
from adapters.long_context import ShiftedBatch
from adapters.long_context import shifted_attention as attend_in_groups

NAME = "gated_prompts"
#: Called by every layer with (query, key, scaling, attention mask, text attention, gated prompt term or None).
Observer = Callable[[torch.Tensor, torch.Tensor, float, torch.Tensor | None, torch.Tensor, torch.Tensor | None], None]


def gated_prompt_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    prompt_batch: PromptBatch | None = None,
    shifted_attention: ShiftedBatch | None = None,
    attention_observer: Observer | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Text attention (B, T, H, head width) plus the layer's gated prompt term.

    ``query`` (B, H, T, head width), ``key`` and ``value`` (B, KV heads, S, head width), as transformers
    hands them over: after rotary embedding and cache. ``shifted_attention`` counts in training only; it knows the
    padding itself, so ``attention_mask`` may then be None. ``attention_observer`` is shown what a layer computed; it
    changes nothing.
    """
    if shifted_attention is not None and _trains_on_whole_rows(module, query, key, shifted_attention, kwargs):
        dropout = kwargs.get("dropout", 0.0)
        output = attend_in_groups(query, key, value, shifted_attention, scaling, dropout)
    else:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    term = None if prompt_batch is None else prompt_attention(module, query, prompt_batch, scale)
    if attention_observer is not None:
        attention_observer(query, key, scale, attention_mask, output, term)
    return output if term is None else output + term, None


def _trains_on_whole_rows(module, query, key, batch: ShiftedBatch, settings: dict) -> bool:
    """Whether a layer attends in groups: in training, over whole rows, and where it does not see less than a group."""
    if settings.get("softcap") is not None:
        raise ValueError(f"shifted attention cannot cap scores: softcap is {settings['softcap']}, expected None")
    window = settings.get("sliding_window")
    return module.training and query.shape[2] == key.shape[2] and (window is None or window >= batch.group)


def register() -> str:
    """Make the function known to transformers, its mask too (a name without a mask ignores padding)."""
    AttentionInterface.register(NAME, gated_prompt_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME
