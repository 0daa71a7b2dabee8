"""Which language models can stand in the middle, and what is peculiar to some of them.

The core needs a causal LM of transformers that dispatches its attention (``AttentionInterface``) to layers with
``k_proj`` and ``v_proj`` of their own, through which gated prompts pass. What cannot be used is refused by name:
it would run, and answer as if there were no media.
"""

from __future__ import annotations

from transformers import PreTrainedModel

#: Factors on logits that the core does not know; a model that uses one is refused.
LOGIT_FACTORS = ("logit_scale", "logits_scaling")


def check_language_model(model: PreTrainedModel) -> None:
    """Raise ValueError unless gated prompts reach every attention layer and logits are those of the output layer."""
    name, config = type(model).__name__, model.config
    if not model._supports_attention_backend:
        raise ValueError(
            f"{name} does not dispatch its attention, so gated prompts cannot reach it: expected a causal LM that "
            "does, such as Llama, Qwen3, Mistral, Gemma or Phi"
        )
    reached = sum(all(hasattr(m, part) for part in ("layer_idx", "k_proj", "v_proj")) for m in model.modules())
    if reached != config.num_hidden_layers:
        raise ValueError(
            f"{name} has k_proj and v_proj in {reached} of its {config.num_hidden_layers} layers, "
            "and gated prompts pass through them: expected one pair a layer"
        )
    if getattr(config, "attn_logit_softcapping", None):
        raise ValueError(f"{name} caps its attention scores, which fused attention cannot: expected no soft cap")
    for factor in LOGIT_FACTORS:
        if getattr(config, factor, None) not in (None, 1, 1.0):
            raise ValueError(f"{name} multiplies its logits ({factor} {getattr(config, factor)}): expected 1")
