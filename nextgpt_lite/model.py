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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from adapters import BindNetwork, GatedPrompts, PromptBatch, VisualPrompts
from adapters import attention as gated_attention
from adapters.gated_prompts import ProjectionStore
from adapters.imagebind_llm import attach_to_words
from adapters.long_context import ShiftedAttention
from data.strict import construct
from nextgpt_lite.config import CoreConfig, build_input_projection, build_output_projections
from nextgpt_lite.language_models import check_language_model
from nextgpt_lite.media_slots import MediaSlots, find_media_slots


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
        width = text.hidden_size
        self.language_model: Any = language_model or AutoModelForCausalLM.from_config(text, trust_remote_code=False)
        check_language_model(self.language_model)
        self.language_model.set_attn_implementation(name)
        self.table = config.table
        rows = len(self.table.names)
        self.added_embedding = nn.Parameter(torch.zeros(rows, width))
        self.added_output = nn.Parameter(torch.zeros(rows, width))
        self.gated_prompts = GatedPrompts(text.num_hidden_layers, text.num_attention_heads, width, **config.prompts)
        self.bind_network: Any = None
        self.visual_prompts: Any = None  # both None where media speak at their placeholders alone
        if config.visual:
            self.visual_prompts = construct(VisualPrompts, config.visual, "visual", config.embedding_width, width)
        elif self.gated_prompts.reads_media:
            self.bind_network = construct(BindNetwork, config.bind, "bind", config.embedding_width, width)
        if self.gated_prompts.injection == "words":
            attach_to_words(self.language_model)
        self.input_projection: Any = build_input_projection(config)
        self.output_projections = nn.ModuleDict(build_output_projections(config))
        #: What one medium looks like, -1 = any number, and how many placeholders it has; None = one a patch.
        self.media_shape = (-1, config.embedding_width) if config.reads_patches else (config.embedding_width,)
        self.media_tokens: Any = None if config.input_features == "patches" else config.input_tokens
        if self.input_projection is not None:
            self.media_tokens = self.input_projection.tokens
        self.logit_cap: float | None = getattr(text, "final_logit_softcapping", None)

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

    def find_media_slots(
        self, input_ids: torch.Tensor, media_embeddings: torch.Tensor | None, media_mask: torch.Tensor | None = None
    ) -> MediaSlots | None:
        """Check media (B, M, E), or patches (B, M, P, E), and find which placeholder reads which."""
        if media_embeddings is None:
            return None
        is_placeholder = self.table.placeholder_mask(input_ids)
        return find_media_slots(is_placeholder, media_embeddings, media_mask, self.media_tokens, self.media_shape)

    def embed_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids (B, T) -> input embeddings (B, T, D); added ids take their own rows."""
        added = input_ids >= self.table.first
        base = self.get_input_embeddings()(input_ids.masked_fill(added, 0))
        own = functional.embedding((input_ids - self.table.first).clamp_min(0), self.added_embedding).to(base)
        return torch.where(added[..., None], own * self.embedding_scale, base)

    @property
    def embedding_scale(self) -> torch.Tensor | float:
        """What the language model multiplies its embeddings by (Gemma: the root of the width), else 1."""
        return getattr(self.get_input_embeddings(), "embed_scale", 1.0)

    def embed_media(self, slots: MediaSlots) -> torch.Tensor:
        """What the input projection makes of each placeholder's medium (B, T, D); zero at all other positions."""
        assert self.input_projection is not None, "this core has no input projection"
        if slots.features.ndim == 3:
            tokens = self.input_projection(slots.features).flatten(1, 2)  # (B, S, D)
        else:  # of patches, media that are padding are not projected at all
            projected = self.input_projection(slots.features[slots.present], slots.mask[slots.present])
            tokens = projected.new_zeros(*slots.present.shape, *projected.shape[1:])
            tokens[slots.present] = projected
            tokens = tokens.flatten(1, 2)
        own = tokens.gather(1, slots.token[..., None].expand(-1, -1, tokens.shape[-1]))
        return own.masked_fill(~slots.is_placeholder[..., None], 0.0)

    def embed_prompts(self, slots: MediaSlots | None, store: PromptStore | None = None) -> PromptBatch | None:
        """Media -> prompts that their placeholders see, or all tokens of their row; None where no layer has any.

        Prompts of media are (B, M, D), or (B, M, K, D) of tokens of a vision tower; computed once where stored.
        """
        prompts, projections = self.gated_prompts, None if store is None else store.projections
        store = PromptStore() if store is None else store
        if slots is None or not prompts.reads_media:
            return PromptBatch(prompts, None, None, projections) if prompts.static_tokens else None
        if store.media is None and self.visual_prompts is not None:
            store.media = self.visual_prompts(slots.features)
        elif store.media is None:
            store.media = self.bind_network(slots.pooled())
        return PromptBatch(prompts, store.media, slots.visibility(prompts.reach), projections)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, D) -> logits over base and added rows; placeholders are never generated."""
        base = self.get_output_embeddings()(hidden)[..., : self.table.first]
        silent = self.table.first_signal - self.table.first
        signals = hidden @ self.added_output[silent:].to(hidden).T
        never = base.new_full((*base.shape[:-1], silent), torch.finfo(base.dtype).min)
        if self.logit_cap is not None:  # as Gemma's later releases end
            base, signals = (self.logit_cap * torch.tanh(each / self.logit_cap) for each in (base, signals))
        return torch.cat([base, never, signals], dim=-1)

    def conditions(
        self, input_ids: torch.Tensor, hidden: torch.Tensor, modality: str, before: Sequence[int] = ()
    ) -> torch.Tensor:
        """All spans of ``modality`` in the batch, row by row -> conditions (spans, L, C).

        The states of a span are those at the positions where its ids come in; spans of n and of 2n - 1 ids are read.
        ``before`` are the ids that stand before the only row, for a projection that reads words.
        """
        rows, columns = self.table.span_places(input_ids, modality)
        embeddings = self.embed_text(input_ids)
        project = self.output_projections[modality]
        made: list[torch.Tensor | None] = [None] * len(columns)
        for width in {len(places) for places in columns}:
            chosen = [i for i, places in enumerate(columns) if len(places) == width]
            at = rows[chosen][:, None], torch.stack([columns[i] for i in chosen])
            starts = [(int(rows[i]), int(columns[i][0])) for i in chosen]
            most: Any = getattr(project, "words", 0)
            read = self._words_before(input_ids, starts, most, before) if most else ()
            for i, condition in zip(chosen, project(hidden[at], embeddings[at], *read), strict=True):
                made[i] = condition
        found = [condition for condition in made if condition is not None]
        return torch.stack(found) if found else hidden.new_zeros(0, *self.config.conditions[modality])

    def _words_before(
        self, input_ids: torch.Tensor, starts: Sequence[tuple[int, int]], most: int, before: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Input embeddings (spans, W, D) of at most ``most`` tokens before each of the places (row, column) in ids
        (B, T), on the right; and where there are fewer, true (spans, W)."""
        prefix = torch.tensor(before, dtype=input_ids.dtype, device=input_ids.device)
        words = [torch.cat((prefix, input_ids[row, :column]))[-most:] for row, column in starts]
        width = max(len(own) for own in words)
        padding = torch.stack([torch.arange(width, device=input_ids.device) < width - len(own) for own in words])
        ids = torch.stack([functional.pad(own, (width - len(own), 0)) for own in words])
        return self.embed_text(ids), padding

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

    def get_input_embeddings(self) -> Any:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return self.language_model.get_output_embeddings()

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
