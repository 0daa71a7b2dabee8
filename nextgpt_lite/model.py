"""The core: a causal language model with gated media prompts in front and output projections behind.

    media embeddings -> input projection -> placeholders'
                     -> bind network -> media prompts -> [language model with gated prompts] -> text
                                                                  | hidden states of signal tokens
                                          prompt embeddings <- output projections

A medium comes in as one unit embedding (E,), or as patch tokens (P, E) where the configuration says so. Instead of the
bind network, visual prompts may read such tokens of a vision tower.

Shapes: B batch, T tokens, M media of a row, P patches of a medium, E embedding width, D model width, S media tokens of
a row, n signal tokens, L x C condition.
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
    PATCH_PROJECTIONS,
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
from nextgpt_lite.language_models import capped, check_language_model, embedding_scale
from nextgpt_lite.media_slots import MediaSlots, find_media_slots

#: Input projections by what they read of a medium.
FEATURES = {"pooled": INPUT_PROJECTIONS, "patches": PATCH_PROJECTIONS}


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
        check_language_model(language_model)
        language_model.set_attn_implementation(name)
        text = config.text_config
        width = text.hidden_size
        self.language_model = language_model
        self.table = config.table
        rows = len(self.table.names)
        self.added_embedding = nn.Parameter(torch.zeros(rows, width))
        self.added_output = nn.Parameter(torch.zeros(rows, width))
        self.gated_prompts = GatedPrompts(text.num_hidden_layers, text.num_attention_heads, width, **config.prompts)
        self.bind_network, self.visual_prompts = None, None  # both None where media speak at their placeholders alone
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
        self, input_ids, media_embeddings=None, media_mask=None, past_key_values=None, **kwargs
    ):
        """Media enter with the prompt only: later steps bring no placeholder, so they need no media.

        Where media reach every token of their row, they come with every step, and with them what the placeholders of
        the whole row say of them.
        """
        inputs = super().prepare_inputs_for_generation(input_ids, past_key_values=past_key_values, **kwargs)
        prefill = past_key_values is None or past_key_values.get_seq_length() == 0
        everywhere = self.gated_prompts.reach == "row" and media_embeddings is not None
        if everywhere and media_mask is None:
            media_mask = self.find_media_slots(input_ids, media_embeddings).present
        inputs["media_embeddings"] = media_embeddings if prefill or everywhere else None
        inputs["media_mask"] = media_mask if prefill or everywhere else None
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
            scale = float(embedding_scale(self.get_input_embeddings()))
            self.input_projection.scale_output(scale * float(self.get_input_embeddings().weight.float().std()))

    def embed_tokens(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids (B, T) -> input embeddings (B, T, D); added ids take their own rows."""
        added = input_ids >= self.table.first
        base = self.get_input_embeddings()(input_ids.masked_fill(added, 0))
        own = functional.embedding((input_ids - self.table.first).clamp_min(0), self.added_embedding).to(base)
        return torch.where(added[..., None], own * embedding_scale(self.get_input_embeddings()), base)

    def find_media_slots(
        self, input_ids: torch.Tensor, media_embeddings: torch.Tensor | None, media_mask: torch.Tensor | None = None
    ) -> MediaSlots | None:
        """Check media (B, M, E), or patches (B, M, P, E), and tell which placeholder reads which."""
        if media_embeddings is None:
            return None
        width = self.config.embedding_width
        shape = (-1, width) if self.config.reads_patches else (width,)
        return find_media_slots(self.table, input_ids, media_embeddings, media_mask, self._tokens_each(), shape)

    def _tokens_each(self) -> int | None:
        """Placeholders of a medium; None = one a patch."""
        if self.input_projection is not None:
            return self.input_projection.tokens
        return None if self.config.input_features == "patches" else self.table.input_tokens

    def embed(self, input_ids: torch.Tensor, media: MediaSlots | None) -> torch.Tensor:
        """Input embeddings (B, T, D): those of the ids, and at placeholders what is projected of their media."""
        embedded = self.embed_tokens(input_ids)
        if media is None or self.input_projection is None:
            return embedded
        projected = self._projected(media).to(embedded)  # (B, S, D)
        own = projected.gather(1, media.token[..., None].expand(-1, -1, projected.shape[-1]))
        return torch.where(media.is_placeholder[..., None], embedded + own, embedded)

    def _projected(self, media: MediaSlots) -> torch.Tensor:
        """Media tokens (B, S, D). Of patches, media that are padding are not projected at all."""
        if media.features.ndim == 3:
            return self.input_projection(media.features).flatten(1, 2)
        tokens = self.input_projection(media.features[media.present], media.mask[media.present])
        projected = tokens.new_zeros(*media.present.shape, *tokens.shape[1:])
        projected[media.present] = tokens
        return projected.flatten(1, 2)

    def prompt_batch(self, media: MediaSlots | None, store: PromptStore | None = None) -> PromptBatch | None:
        """Media -> prompts that their placeholders see, or all tokens of their row; None where no layer has any."""
        prompts, projections = self.gated_prompts, None if store is None else store.projections
        if media is not None and prompts.reads_media:
            return PromptBatch(prompts, self._media_prompts(media, store), media.visibility(prompts.reach), projections)
        return PromptBatch(prompts, None, None, projections) if prompts.static_tokens else None

    def _media_prompts(self, media: MediaSlots, store: PromptStore | None) -> torch.Tensor:
        """Prompts of the media (B, M, D), or (B, M, K, D) of tokens of a vision tower; made once where stored."""
        if store is not None and store.media is not None:
            return store.media
        if self.visual_prompts is not None:
            made = self.visual_prompts(media.features)
        else:
            made = self.bind_network(media.pooled())
        if store is not None:
            store.media = made
        return made

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
        media_mask: torch.Tensor | None = None,
        prompt_store: PromptStore | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool = True,
        **kwargs,
    ) -> CoreOutput:
        """Ids (B, T) and media (B, M, E), padded with anything, -> logits, cache, hidden states, loss.

        Patches, or tokens of a vision tower, are (B, M, P, E). ``media_mask`` (B, M) or (B, M, P) is true where there
        is no padding; without it placeholders tell, see find_media_slots. ``prompt_store`` keeps from step to step of one
        generation what does not change.
        """
        if use_cache is None and self.training and past_key_values is None:
            use_cache = False  # a whole row in one pass: nobody comes back to its keys and values
        media = self.find_media_slots(input_ids, media_embeddings, media_mask)
        decoder = self.language_model.get_decoder()
        shifted = self._shifted_batch(input_ids, attention_mask) if past_key_values is None else None
        if shifted is not None and not getattr(self.config.text_config, "sliding_window", None):
            attention_mask = None  # the groups know the padding: no mask of T x T is made
        outputs = decoder(
            inputs_embeds=self.embed(input_ids, media),
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            prompt_batch=self.prompt_batch(media, prompt_store),
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
        cap = getattr(self.config.text_config, "final_logit_softcapping", None)
        return torch.cat([capped(base, cap), never, capped(signals, cap)], dim=-1)

    def language_loss(self, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """:func:`language_loss` of hidden states (B, T, D), with logits only where labels (B, T) are not -100.

        Most of a dialogue is the user's, and logits over a whole vocabulary take more memory than anything else.
        """
        targets = labels[:, 1:]
        told = targets != -100
        total = functional.cross_entropy(self.logits(hidden[:, :-1][told]).float(), targets[told], reduction="sum")
        return total / told.sum().clamp_min(1)

    def conditions(self, input_ids: torch.Tensor, hidden: torch.Tensor, modality: str) -> torch.Tensor:
        """All spans of ``modality`` in the batch, row by row -> conditions (spans, L, C).

        The states of a span are those at the positions where its ids come in; spans of n and of 2n - 1 ids are read.
        """
        rows, columns = self.table.span_places(input_ids, modality)
        embeddings = self.embed_tokens(input_ids)
        project = self.output_projections[modality]
        made: list[torch.Tensor | None] = [None] * len(columns)
        for width in {len(places) for places in columns}:
            chosen = [i for i, places in enumerate(columns) if len(places) == width]
            at = rows[chosen][:, None], torch.stack([columns[i] for i in chosen])
            for i, condition in zip(chosen, project(hidden[at], embeddings[at]), strict=True):
                made[i] = condition
        return torch.stack(made) if made else hidden.new_zeros(0, *self.config.conditions[modality])


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
    if condition.shape != target.shape:
        raise ValueError(f"targets of shape {tuple(target.shape)} for conditions of shape {tuple(condition.shape)}")
    return (condition.float() - target.float()).square().sum(-1).add(1e-8).sqrt().mean()
