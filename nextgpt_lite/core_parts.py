"""What a core is besides its language model: added rows, gated prompts, bind network, input and output projections.

:class:`nextgpt_lite.model.AnyToAnyCore` is built on it, and :mod:`nextgpt_lite.decoding.quick_core`, which answers
without transformers' models. Shapes: see :mod:`nextgpt_lite.model`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from adapters import BindNetwork, GatedPrompts, PromptBatch, VisualPrompts
from adapters.gated_prompts import ProjectionStore
from data.strict import construct
from nextgpt_lite.config import CoreConfig, build_input_projection, build_output_projections
from nextgpt_lite.media_slots import MediaSlots, find_media_slots
from nextgpt_lite.signal_tokens import SignalTable


@dataclass
class PromptStore:
    """What stays the same between the steps of one generation: prompts of the media, projections of all prompts."""

    media: torch.Tensor | None = None
    projections: ProjectionStore = field(default_factory=dict)


class CoreParts:
    """A part of a module that has a ``config`` and a ``language_model``."""

    config: CoreConfig
    language_model: Any
    table: SignalTable

    def add_parts(self, config: CoreConfig) -> None:
        """Create the parts."""
        text = config.text_config
        width = text.hidden_size
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
        self.input_projection: Any = build_input_projection(config)
        self.output_projections = nn.ModuleDict(build_output_projections(config))
        #: What one medium looks like, -1 = any number, and how many placeholders it has; None = one a patch.
        self.media_shape = (-1, config.embedding_width) if config.reads_patches else (config.embedding_width,)
        self.media_tokens: Any = None if config.input_features == "patches" else config.input_tokens
        if self.input_projection is not None:
            self.media_tokens = self.input_projection.tokens
        self.logit_cap: float | None = getattr(text, "final_logit_softcapping", None)

    def get_input_embeddings(self) -> Any:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return self.language_model.get_output_embeddings()

    def find_media_slots(
        self, input_ids: torch.Tensor, media_embeddings: torch.Tensor | None, media_mask: torch.Tensor | None = None
    ) -> MediaSlots | None:
        """Check media (B, M, E), or patches (B, M, P, E), and find which placeholder reads which."""
        if media_embeddings is None:
            return None
        is_placeholder = self.table.placeholder_mask(input_ids)
        media_embeddings = media_embeddings.to(self.added_embedding.dtype)
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
        dtype = self.added_output.dtype  # that of the projections, where the language model computes in another
        hidden, embeddings = hidden.to(dtype), self.embed_text(input_ids).to(dtype)
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
