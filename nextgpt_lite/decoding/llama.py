"""The engine of Llama-shaped language models: their layers computed here, without padding and without modules.

The tokens of all rows are one matrix; only attention goes row by row, over a buffer of each row's own
(:mod:`nextgpt_lite.decoding.contexts`). Reading prompts and taking steps are the same pass. Where there is a compiler,
steps on the CPU are taken by :mod:`nextgpt_lite.decoding.kernel`. Gated prompts are those of :mod:`adapters`.

Shapes: N tokens of all rows, T tokens and S positions of a row, H heads, d head width, D model width.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional

from adapters.gated_prompts import PromptBatch, prompt_attention
from adapters.imagebind_llm import word_term
from nextgpt_lite.core_parts import PromptStore
from nextgpt_lite.decoding.bare_llama import BareLlama
from nextgpt_lite.decoding.contexts import Context, content_of, read_items
from nextgpt_lite.decoding.engine import Decoding, Prepared
from nextgpt_lite.decoding.kernel import Kernel, open_kernel
from nextgpt_lite.decoding.weights import LayerWeights, fused_layers
from nextgpt_lite.media_slots import batch_media

if TYPE_CHECKING:
    from nextgpt_lite.model import AnyToAnyCore

log = logging.getLogger(__name__)
#: Tokens of a prompt that are read in one pass, at most.
CHUNK = 1024
#: Rows up to which the kernel is quicker than products of matrices.
KERNEL_ROWS = 8


class LlamaWeights:
    """What all engines of a core share: weights as they were when it was made, tables of rotations, the kernel.

    ``stored`` says how the kernel has them, ``state`` which they are.
    """

    def __init__(self, core: AnyToAnyCore, stored: str, state: tuple) -> None:
        config = core.config.text_config
        self.stored, self.state = stored, state
        layers = layers_of(core.language_model)
        self.layers = fused_layers(layers)
        self.norm: Any = core.language_model.get_decoder().norm.weight.detach()
        self.epsilon: float = config.rms_norm_eps
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.scaling: float = self.layers[0].module.scaling
        self.store = PromptStore()  # of prompts that do not depend on media
        self._rotary = core.language_model.get_decoder().rotary_emb
        self.cosine = self.sine = self.norm.new_empty(0)
        self.kernel: Kernel | None = open_kernel(core, self, layers)
        if stored == "int8" and self.kernel is None:
            log.warning("weights 'int8' need a C compiler and a model on the CPU: text is generated with exact ones")

    def make_tables(self, length: int) -> None:
        """Rotations of at least ``length`` positions: ``cosine`` and ``sine`` (positions, d)."""
        if len(self.cosine) < length:
            positions = torch.arange(max(length, 2 * len(self.cosine)), device=self.norm.device)
            cosine, sine = self._rotary(self.norm, positions[None])
            self.cosine, self.sine = cosine[0].contiguous(), sine[0].contiguous()

    @torch.no_grad()
    def read(self, contexts: Sequence[Context], tokens: list[torch.Tensor], prompts: Sequence[PromptBatch | None]):
        """States (N, D) of embedded ``tokens``, (T, D) of each row, that are read behind what its context holds."""
        counts = [len(own) for own in tokens]
        positions = [torch.arange(each.length, each.length + n) for each, n in zip(contexts, counts, strict=True)]
        at = torch.cat(positions).to(self.norm.device)
        self.make_tables(int(at.max()) + 1)
        half = self.head_width // 2
        cosine, sine = self.cosine[at][:, None], self.sine[at][:, None]  # (N, 1, d)
        turn = cosine, torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)
        for context, count in zip(contexts, counts, strict=True):
            context.make_room(count)
        rows = list(zip(contexts, counts, prompts, strict=True))
        x = torch.cat(tokens)
        for number, layer in enumerate(self.layers):
            x = self._layer(number, layer, x, turn, rows)
        for context, count in zip(contexts, counts, strict=True):
            context.length += count
        return self._normalised(x, self.norm)

    def _layer(self, number: int, layer: LayerWeights, x: torch.Tensor, turn: tuple, rows: list) -> torch.Tensor:
        x = _with_words(x, number, rows)
        projected = layer.attention_in(self._normalised(x, layer.attention_norm))
        heads = projected.unflatten(-1, (-1, self.head_width))  # (N, H + 2 KV heads, d)
        query, key, value = heads.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        if layer.query_norm is not None:
            query, key = self._normalised(query, layer.query_norm), self._normalised(key, layer.key_norm)
        query, key = _turned(query, *turn), _turned(key, *turn)
        counts = [count for _, count, _ in rows]
        pieces = zip(rows, *(each.split(counts) for each in (query, key, value)), strict=True)
        mixed = torch.cat([self._attention(number, layer, *row, *own) for row, *own in pieces])
        x = x + layer.attention_out(mixed)
        gate, up = layer.feed_in(self._normalised(x, layer.feed_norm)).chunk(2, dim=-1)
        return x + layer.feed_out(functional.silu(gate) * up)

    def _attention(
        self,
        number: int,
        layer: LayerWeights,
        context: Context,
        count: int,
        batch: PromptBatch | None,
        query,
        key,
        value,
    ) -> torch.Tensor:
        """One row: its query (T, H, d) over all that it has read, plus the gated prompts; (T, H * d)."""
        keys, values = context.write(number, key.transpose(0, 1), value.transpose(0, 1))
        query, fresh = query.transpose(0, 1)[None], context.length == 0
        mask = None
        if count > 1 and not fresh:
            mask = torch.ones(count, keys.shape[1], dtype=torch.bool, device=query.device).tril(context.length)
        mixed = functional.scaled_dot_product_attention(
            query, keys[None], values[None], mask, is_causal=count > 1 and fresh, scale=self.scaling,
            enable_gqa=self.heads != self.kv_heads,
        ).transpose(1, 2)  # fmt: skip
        term = None if batch is None else prompt_attention(layer.module, query, batch, self.scaling)
        return (mixed if term is None else mixed + term)[0].flatten(1)

    def _normalised(self, x: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        return functional.rms_norm(x, x.shape[-1:], weight, self.epsilon)


class LlamaEngine:
    """See :class:`nextgpt_lite.decoding.engine.Engine`."""

    weights: LlamaWeights  # as they were when the last rows joined

    def __init__(self, core: AnyToAnyCore, decoding: Decoding) -> None:
        self.core, self.decoding, self.prefixes = core, decoding, decoding.prefixes
        self._contexts: list[Context] = []

    def join(self, prompts: Sequence[Prepared]) -> torch.Tensor:
        self.weights = shared_weights(self.core, self.decoding.weights)
        contexts, states = list(self._contexts), []
        for prompt in prompts:
            context, state = self._read_prompt(prompt, contexts)
            contexts.append(context)
            states.append(state)
        self._contexts = contexts
        return self.core.logits(torch.stack(states))

    def step(self, tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        weights, contexts = self.weights, self._contexts
        if weights.kernel is not None and len(tokens) <= KERNEL_ROWS:
            weights.make_tables(max(context.length for context in contexts) + 1)
            states, logits = weights.kernel.step(weights, contexts, tokens)
        else:
            embedded = self.core.embed_text(torch.tensor([tokens], device=weights.norm.device))[0]
            states = weights.read(contexts, list(embedded[:, None]), [context.prompts for context in contexts])
            logits = self.core.logits(states)
        for context, token in zip(contexts, tokens, strict=True):
            context.items.append(token)
        return states, logits

    def keep(self, places: list[int]) -> None:
        kept = [self._contexts[place] for place in places]
        for context in self._contexts:
            if self.prefixes is not None and not any(context is each for each in kept):
                self.prefixes.put(context)
        self._contexts = kept

    def read_behind(self, place: int, length: int, ids: list[int]) -> torch.Tensor:
        context = self._contexts[place]
        context.forget(length)
        embedded = self.core.embed_text(torch.tensor([ids], device=self.weights.norm.device))
        states = self.weights.read([context], list(embedded), [context.prompts])
        context.items += ids
        return states[None]

    def _read_prompt(self, prompt: Prepared, running: list[Context]) -> tuple[Context, torch.Tensor]:
        """A row's context and its last state (D,): what a kept one has read already is not read again."""
        core, weights = self.core, self.weights
        ids = torch.tensor([prompt.ids], device=weights.norm.device)
        slots = core.find_media_slots(ids, **batch_media([prompt.media])) if prompt.media else None
        everywhere = core.gated_prompts.reach == "row"
        items, scope = read_items(prompt.ids, slots, prompt.media), self._scope(prompt if everywhere else None)
        context = None if self.prefixes is None else self.prefixes.take(items, scope, running)
        if context is None:
            shape = len(weights.layers), weights.kv_heads, weights.head_width
            context = Context(shape, len(items), scope, weights.norm)
        known, store = context.length, PromptStore() if everywhere and slots is not None else weights.store
        constant = core.embed_prompts(slots if everywhere else None, store)
        embedded, batch = core.embed_text(ids[:, known:]), constant
        if slots is not None and bool(slots.is_placeholder[:, known:].any()):
            rest = replace(slots, is_placeholder=slots.is_placeholder[:, known:], token=slots.token[:, known:])
            batch = constant if everywhere else core.embed_prompts(rest)
            if core.input_projection is not None:
                embedded = embedded + core.embed_media(rest).to(embedded)
        context.see(constant)
        state = self._read_chunks(context, embedded[0], batch)
        context.items = items
        return context, state

    def _read_chunks(self, context: Context, embedded: torch.Tensor, batch: PromptBatch | None) -> torch.Tensor:
        """The last state (D,) of a prompt's embedded tokens (T, D)."""
        states = embedded
        for start in range(0, len(embedded), CHUNK):
            own = slice(start, start + CHUNK)
            seen = batch
            if batch is not None and batch.visibility is not None and batch.visibility.shape[1] > 1:
                seen = replace(batch, visibility=batch.visibility[:, own])
            states = self.weights.read([context], [embedded[own]], [seen])
        return states[-1]

    def _scope(self, everywhere: Prepared | None) -> tuple[Hashable, ...]:
        """What all positions of a row depend on: the weights and, where every token sees them, its media."""
        return (self.weights, *map(content_of, everywhere.media if everywhere else ()))


def layers_of(language_model: Any) -> list[LayerWeights]:
    """The layers of a language model: its own where it holds nothing else, or those of transformers' modules."""
    if isinstance(language_model, BareLlama):
        return language_model.layers
    from nextgpt_lite.decoding.modules import read_layers

    return read_layers(language_model)


def can_decode(core: AnyToAnyCore) -> bool:
    """Whether the engine computes what a core computes."""
    if isinstance(core.language_model, BareLlama):
        return True
    from nextgpt_lite.decoding.modules import is_llama_shaped

    return not core.training and is_llama_shaped(core.language_model)


def weights_state(core: AnyToAnyCore) -> tuple[Any, ...]:
    """What changes whenever a parameter that is copied here is changed in place or replaced."""
    parts = core.language_model, core.gated_prompts
    own = [_stamp(each) for part in parts for each in part.parameters()]
    return (core.added_embedding.data_ptr(), *_stamp(core.added_output), *own)


def _stamp(parameter: torch.Tensor) -> tuple[int, int]:
    return parameter.data_ptr(), parameter._version


#: By how the kernel stores them.
_shared: WeakKeyDictionary[AnyToAnyCore, dict[str, LlamaWeights]] = WeakKeyDictionary()


def shared_weights(core: AnyToAnyCore, stored: str = "exact") -> LlamaWeights:
    """The weights of a core, read anew where they have changed."""
    found, state = _shared.setdefault(core, {}), weights_state(core)
    if stored not in found or found[stored].state != state:
        found[stored] = LlamaWeights(core, stored, state)
    return found[stored]


def _turned(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding on halves: x (N, heads, d), cosine and signed sine (N, 1, d)."""
    return x * cosine + x.roll(x.shape[-1] // 2, dims=-1) * sine


def _with_words(x: torch.Tensor, number: int, rows: list) -> torch.Tensor:
    """Tokens (N, D) plus the media that the paper's Eq. 2 of ImageBind-LLM adds to a layer's words."""
    batches = [batch for _, _, batch in rows if batch is not None]
    if not any(each.any_visible and each.prompts.injection == "words" for each in batches):
        return x
    pieces = []
    for own, (_, _, batch) in zip(x.split([count for _, count, _ in rows]), rows, strict=True):
        if batch is not None and batch.any_visible and batch.prompts.has_media(number):
            own = own + word_term(batch, number)[0]
        pieces.append(own)
    return torch.cat(pieces)
