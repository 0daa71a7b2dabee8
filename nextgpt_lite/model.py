"""The core: a causal language model with gated media prompts in front and output projections behind.

    ids   -> embed_text  -----------------+
    media -> embed_media: input projection +-> [language model] -> logits -> text
          -> embed_prompts: bind network  --> [gated prompts  ]
                                                    | hidden states of signal tokens
                          decoders <- conditions: output projections

A medium comes in as one unit embedding (E,), or as patch tokens (P, E) where the configuration says so. Instead of the
bind network, visual prompts may read such tokens of a vision tower.

Shapes: B batch, T tokens, M media of a row, P patches of a medium, E embedding width, D model width, S media tokens of
a row, n signal tokens, L x C condition.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from adapters import attention as gated_attention
from adapters.imagebind_llm import attach_to_words
from adapters.long_context import ShiftedAttention
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_parts import CoreParts, PromptStore
from nextgpt_lite.language_models import check_language_model


@dataclass
class CoreOutput(CausalLMOutputWithPast):
    """Logits (B, T, V + added), cache, and ``last_hidden_state`` (B, T, D) after the final norm."""

    last_hidden_state: torch.Tensor | None = None


class AnyToAnyCore(CoreParts, PreTrainedModel, GenerationMixin):
    """Language model, adapters and projections. Encoders and decoders stand beside it."""

    config: CoreConfig
    config_class = CoreConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_attention_backend = True
    #: How it trains on long rows; None = densely, as it is always evaluated. Set by who trains it, not stored.
    shifted_attention: ShiftedAttention | None = None

    def __init__(self, config: CoreConfig, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        name = gated_attention.register()
        text = config.text_config
        self.language_model: Any = language_model or AutoModelForCausalLM.from_config(text, trust_remote_code=False)
        check_language_model(self.language_model)
        self.language_model.set_attn_implementation(name)
        self.add_parts(config)
        if self.gated_prompts.injection == "words":
            attach_to_words(self.language_model)

    # -- the diagram --------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        media_embeddings: torch.Tensor | None = None,
        media_mask: torch.Tensor | None = None,
        prompt_store: PromptStore | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool = True,
        attention_observer: gated_attention.Observer | None = None,
        **kwargs: Any,
    ) -> CoreOutput:
        """Ids (B, T) and media (B, M, E), padded with anything, -> logits, cache, hidden states, loss.

        Patches, or tokens of a vision tower, are (B, M, P, E). ``media_mask`` (B, M) or (B, M, P) is true where there
        is no padding; without it the placeholders decide (nextgpt_lite.media_slots). ``prompt_store`` keeps from step
        to step of one generation what does not change. ``attention_observer`` is shown what each layer computes.
        """
        slots = self.find_media_slots(input_ids, media_embeddings, media_mask)
        embedded = self.embed_text(input_ids)  # (B, T, D)
        if slots is not None and self.input_projection is not None:
            embedded = embedded + self.embed_media(slots).to(embedded)
        shifted = None
        if self.shifted_attention is not None and self.training and past_key_values is None:
            shifted = self.shifted_attention.batch(input_ids.shape[1], attention_mask)
            if shifted is not None and not getattr(self.config.text_config, "sliding_window", None):
                attention_mask = None  # the groups know the padding: no mask of T x T is made
        if use_cache is None and self.training and past_key_values is None:
            use_cache = False  # a whole row in one pass: its keys and values are not used again
        outputs = self.language_model.get_decoder()(
            inputs_embeds=embedded,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            prompt_batch=self.embed_prompts(slots, prompt_store),
            shifted_attention=shifted,
            attention_observer=attention_observer,
        )
        hidden = outputs.last_hidden_state  # (B, T, D)
        logits = self.logits(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        loss = None if labels is None else language_loss(logits, labels)
        return CoreOutput(loss=loss, logits=logits, past_key_values=outputs.past_key_values, last_hidden_state=hidden)

    def language_loss(self, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """:func:`language_loss` of hidden states (B, T, D), with logits only where labels (B, T) are not -100.

        Most of a dialogue is the user's, and logits over a whole vocabulary take more memory than anything else.
        """
        targets = labels[:, 1:]
        labelled = targets != -100
        logits = self.logits(hidden[:, :-1][labelled]).float()
        return functional.cross_entropy(logits, targets[labelled], reduction="sum") / labelled.sum().clamp_min(1)

    @torch.no_grad()
    def initialise_added_rows(self) -> None:
        """New rows start at the mean of the vocabulary (NExT-GPT), with a little noise to tell them apart."""
        for rows, base in (
            (self.added_embedding, self.get_input_embeddings().weight),
            (self.added_output, self.get_output_embeddings().weight),
        ):
            rows.copy_(base.float().mean(0) + 0.1 * base.float().std(0) * torch.randn(rows.shape))
        if self.input_projection is not None:
            scale = float(self.embedding_scale)
            self.input_projection.scale_output(scale * float(self.get_input_embeddings().weight.float().std()))

    # -- what transformers asks of a model that generates -------------------------------------------------------

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers', with one store of prompt projections for all steps."""
        parent: Any = super()
        return parent.generate(*args, prompt_store=PromptStore(), **kwargs)

    def prepare_inputs_for_generation(
        self, input_ids, media_embeddings=None, media_mask=None, past_key_values=None, **kwargs
    ):
        """Media enter with the prompt only: later steps bring no placeholder, so they need no media.

        Where every token of a row sees its media, these come with every step, and with them what the placeholders of
        the whole row say of them.
        """
        parent: Any = super()
        inputs = parent.prepare_inputs_for_generation(input_ids, past_key_values=past_key_values, **kwargs)
        prefill = past_key_values is None or past_key_values.get_seq_length() == 0
        everywhere = self.gated_prompts.reach == "row" and media_embeddings is not None
        if everywhere and media_mask is None:
            slots = self.find_media_slots(input_ids, media_embeddings)
            media_mask = None if slots is None else slots.present
        inputs["media_embeddings"] = media_embeddings if prefill or everywhere else None
        inputs["media_mask"] = media_mask if prefill or everywhere else None
        return inputs


def language_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Next-token cross-entropy over labels (B, T) that are not -100; 0 where a batch has none."""
    targets = labels[:, 1:].flatten()
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), targets, ignore_index=-100, reduction="sum"
    ) / (targets != -100).sum().clamp_min(1)


def caption_loss(condition: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean Euclidean distance per position between conditions (N, L, C) (NExT-GPT, caption alignment)."""
    if condition.shape != target.shape:
        raise ValueError(f"targets of shape {tuple(target.shape)} for conditions of shape {tuple(condition.shape)}")
    return (condition.float() - target.float()).square().sum(-1).add(1e-8).sqrt().mean()
