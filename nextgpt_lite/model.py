"""The core: a causal language model with gated media prompts in front and output projections behind.

    media embeddings -> input projection -> placeholders'
                     -> bind network -> media prompts -> [language model with gated prompts] -> text
                                                                  | hidden states of signal tokens
                                          prompt embeddings <- output projections

Shapes: B batch, T tokens, M media of a row, E embedding width, D model width, n signal tokens, L x C condition.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from adapters import (
    INPUT_PROJECTIONS,
    OUTPUT_PROJECTIONS,
    BindNetwork,
    GatedPrompts,
    PromptBatch,
    VisualPrompts,
    word_injection,
)
from adapters import attention as gated_attention
from adapters.gated_prompts import ProjectionStore
from adapters.long_context import ShiftedAttention, ShiftedBatch
from nextgpt_lite.config import CoreConfig


@dataclass
class PromptStore:
    """What stays the same between the steps of one generation: prompts of the media, projections of all prompts."""

    media: torch.Tensor | None = None
    projections: ProjectionStore = field(default_factory=dict)


@dataclass
class CoreOutput(CausalLMOutputWithPast):
    """Logits (B, T, V + added), cache, and ``last_hidden_state`` (B, T, D) after the final norm."""

    last_hidden_state: torch.Tensor | None = None


class AnyToAnyCore(PreTrainedModel, GenerationMixin):
    """Language model, adapters and projections. Encoders and decoders stand beside it."""

    config_class = CoreConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_attention_backend = True
    #: How it trains on long rows; None = densely, as it is always evaluated. Set by who trains it, not stored.
    shifted_attention: ShiftedAttention | None = None

    def __init__(self, config: CoreConfig, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        name = gated_attention.register()
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        language_model.set_attn_implementation(name)
        text = config.text_config
        width = text.hidden_size
        self.language_model = language_model
        self.table = config.table
        rows = len(self.table.names)
        self.added_embedding = nn.Parameter(torch.zeros(rows, width))
        self.added_output = nn.Parameter(torch.zeros(rows, width))
        self.gated_prompts = GatedPrompts(text.num_hidden_layers, text.num_attention_heads, width, **config.prompts)
        self.bind_network, self.visual_prompts = None, None
        if config.visual:
            self.visual_prompts = VisualPrompts(config.embedding_width, width, **config.visual)
        elif self.gated_prompts.reads_media:
            self.bind_network = BindNetwork(config.embedding_width, width, **config.bind)
        if self.gated_prompts.injection == "words":
            word_injection.attach(language_model)
        self.input_projection = self._input_projection() if config.input_projection else None
        self.output_projections = nn.ModuleDict(
            {modality: self._output_projection(modality, shape) for modality, shape in config.conditions.items()}
        )

    def _input_projection(self) -> nn.Module:
        config = self.config
        kind = _chosen("input projection", config.input_projection, INPUT_PROJECTIONS)
        width = config.text_config.hidden_size
        return kind(config.embedding_width, width, config.input_tokens, **config.input_projection_settings)

    def _output_projection(self, modality: str, shape: list[int]) -> nn.Module:
        config = self.config
        kind = _chosen("output projection", config.output_projection, OUTPUT_PROJECTIONS)
        settings = dict(config.output_projection_settings)
        if config.output_projection == "linear":
            settings["signal_tokens"] = config.signal_tokens[modality]
        width = config.text_config.hidden_size
        return kind(width, (shape[0], shape[1]), **settings)

    # -- what transformers asks of a model that generates -------------------------------------------------------

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def generate(self, *args, **kwargs):
        """As transformers', with one store of prompt projections for all steps."""
        return super().generate(*args, prompt_store=PromptStore(), **kwargs)

    def prepare_inputs_for_generation(
        self, input_ids, media_embeddings=None, media_count=None, past_key_values=None, **kwargs
    ):
        """Media enter with the prompt only: later steps bring no placeholder, so they need no media.

        Where media reach every token of their row, they come with every step.
        """
        inputs = super().prepare_inputs_for_generation(input_ids, past_key_values=past_key_values, **kwargs)
        prefill = past_key_values is None or past_key_values.get_seq_length() == 0
        everywhere = self.gated_prompts.reach == "row" and media_embeddings is not None
        inputs["media_embeddings"] = media_embeddings if prefill or everywhere else None
        if everywhere:
            inputs["media_count"] = self.media_count(input_ids) if media_count is None else media_count
        return inputs

    # -- the diagram --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise_added_rows(self) -> None:
        """New rows start at the mean of the vocabulary (NExT-GPT), with a little noise to tell them apart."""
        for rows, base in (
            (self.added_embedding, self.get_input_embeddings().weight),
            (self.added_output, self.get_output_embeddings().weight),
        ):
            rows.copy_(base.float().mean(0) + 0.1 * base.float().std(0) * torch.randn(rows.shape))
        if self.input_projection is not None:
            self.input_projection.scale_output(float(self.get_input_embeddings().weight.float().std()))

    def embed_tokens(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids (B, T) -> input embeddings (B, T, D); added ids take their own rows."""
        added = input_ids >= self.table.first
        base = self.get_input_embeddings()(input_ids.masked_fill(added, 0))
        own = functional.embedding((input_ids - self.table.first).clamp_min(0), self.added_embedding).to(base)
        return torch.where(added[..., None], own, base)

    def embed(self, input_ids: torch.Tensor, media_embeddings: torch.Tensor | None) -> torch.Tensor:
        """Input embeddings (B, T, D): those of the ids, and at placeholders what is projected of their media."""
        embedded = self.embed_tokens(input_ids)
        if media_embeddings is None or self.input_projection is None:
            return embedded
        here, order = self._placeholder_order(input_ids)
        projected = self.input_projection(media_embeddings).flatten(1, 2).to(embedded)  # (B, M n, D)
        at = order.clamp(0, projected.shape[1] - 1)[..., None].expand(-1, -1, projected.shape[-1])
        return embedded + projected.gather(1, at) * here[..., None]

    def media_count(self, input_ids: torch.Tensor) -> torch.Tensor:
        """How many media the placeholders of each row stand for: (B,)."""
        return self.table.placeholder_mask(input_ids).sum(1) // self.table.input_tokens

    def prompt_batch(
        self,
        input_ids: torch.Tensor,
        media_embeddings: torch.Tensor | None,
        media_count: torch.Tensor | None = None,
        store: PromptStore | None = None,
    ) -> PromptBatch | None:
        """Media in the order of their placeholders -> prompts that only those placeholders see.

        With ``reach`` "row" every token of a row sees the row's media, of which there are ``media_count`` (B,).
        """
        projections = None if store is None else store.projections
        if media_embeddings is None or not self.gated_prompts.reads_media:
            static = self.gated_prompts.static_tokens
            return PromptBatch(self.gated_prompts, None, None, projections) if static else None
        visibility = self._visibility(input_ids, media_embeddings, media_count)
        return PromptBatch(self.gated_prompts, self._media_prompts(media_embeddings, store), visibility, projections)

    def _media_prompts(self, media_embeddings: torch.Tensor, store: PromptStore | None) -> torch.Tensor:
        """Unit embeddings (B, M, E) -> (B, M, D); tokens of a vision tower (B, M, N, E) -> (B, M, K, D)."""
        if store is not None and store.media is not None:
            return store.media
        if self.visual_prompts is not None and media_embeddings.ndim == 4:
            media = self.visual_prompts(media_embeddings)
        elif self.bind_network is not None and media_embeddings.ndim == 3:
            media = self.bind_network(media_embeddings)
        else:
            expected = "(B, M, E)" if self.visual_prompts is None else "(B, M, N, E)"
            raise ValueError(f"media of shape {tuple(media_embeddings.shape)}: this core reads {expected}")
        if store is not None:
            store.media = media
        return media

    def _visibility(
        self, input_ids: torch.Tensor, media_embeddings: torch.Tensor, media_count: torch.Tensor | None
    ) -> torch.Tensor:
        """Which token sees which medium: (B, T, M), or (B, 1, M) where all tokens of a row see its media."""
        slots = torch.arange(media_embeddings.shape[1], device=input_ids.device)
        if self.gated_prompts.reach == "row":
            count = self.media_count(input_ids) if media_count is None else media_count
            return (slots < count[:, None])[:, None]
        here, order = self._placeholder_order(input_ids)
        return here[..., None] & (order[..., None] // self.table.input_tokens == slots)

    def _placeholder_order(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where placeholders stand (B, T), and how many of the row stand before each token."""
        here = self.table.placeholder_mask(input_ids)
        return here, here.cumsum(1) - 1

    def _shifted_batch(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> ShiftedBatch | None:
        if self.shifted_attention is None or not self.training:
            return None
        return self.shifted_attention.batch(input_ids.shape[1], attention_mask)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values=None,
        media_embeddings: torch.Tensor | None = None,
        media_count: torch.Tensor | None = None,
        prompt_store: PromptStore | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool = True,
        **kwargs,
    ) -> CoreOutput:
        """Ids (B, T) and media (B, M, E), padded with anything, -> logits, cache, hidden states, loss.

        ``media_count`` (B,) is for ids without placeholders, as in steps after the first: see :meth:`prompt_batch`.
        ``prompt_store`` keeps from step to step of one generation what does not change.
        """
        decoder = self.language_model.get_decoder()
        shifted = self._shifted_batch(input_ids, attention_mask) if past_key_values is None else None
        if shifted is not None and not getattr(self.config.text_config, "sliding_window", None):
            attention_mask = None  # the groups know the padding: no mask of T x T is made
        outputs = decoder(
            inputs_embeds=self.embed(input_ids, media_embeddings),
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            prompt_batch=self.prompt_batch(input_ids, media_embeddings, media_count, prompt_store),
            shifted_attention=shifted,
        )
        hidden = outputs.last_hidden_state  # (B, T, D)
        logits = self.logits(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        loss = None if labels is None else language_loss(logits, labels)
        return CoreOutput(loss=loss, logits=logits, past_key_values=outputs.past_key_values, last_hidden_state=hidden)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, D) -> logits over base and added rows; placeholders are never generated."""
        base = self.get_output_embeddings()(hidden)[..., : self.table.first]
        silent = self.table.first_signal - self.table.first
        signals = hidden @ self.added_output[silent:].to(hidden).T
        never = base.new_full((*base.shape[:-1], silent), torch.finfo(base.dtype).min)
        return torch.cat([base, never, signals], dim=-1)

    def conditions(self, input_ids: torch.Tensor, hidden: torch.Tensor, modality: str) -> torch.Tensor:
        """All spans of ``modality`` in the batch, row by row -> conditions (spans, L, C)."""
        mask = self.table.signal_mask(input_ids, modality)
        count = len(self.table.spans[modality])
        spans = int(mask.sum()) // count
        states = hidden[mask].view(spans, count, hidden.shape[-1])  # (spans, n, D)
        embeddings = self.embed_tokens(input_ids)[mask].view(spans, count, hidden.shape[-1])
        return self.output_projections[modality](states, embeddings)


def _chosen(what: str, name: str, kinds: dict[str, type]) -> type:
    if name not in kinds:
        raise ValueError(f"unknown {what} {name!r}: expected one of {', '.join(kinds)}")
    return kinds[name]


def language_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Next-token cross-entropy over labels (B, T) that are not -100; 0 where a batch has none."""
    targets = labels[:, 1:].flatten()
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), targets, ignore_index=-100, reduction="sum"
    ) / (targets != -100).sum().clamp_min(1)


def caption_loss(condition: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean Euclidean distance per position between conditions (N, L, C) (NExT-GPT, caption alignment)."""
    return (condition.float() - target.float()).square().sum(-1).add(1e-8).sqrt().mean()
