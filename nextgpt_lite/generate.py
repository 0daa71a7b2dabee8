"""The generator: replies grow token by token, in rows that join and leave a batch between two tokens.

    batch = TextBatch(core, end_tokens(core, tokenizer))
    rows = batch.add([(prepared, Sampling()), ...])     # the prompts are read in one pass
    while batch.rows:
        batch.step()                                    # one more token for each row

The hidden state of every generated token is kept. When a reply is finished, its signal spans are repaired and their
states go through the output projections: what the decoders are driven by costs no second pass of the model. Each row
samples with its own generator, so a reply does not depend on the rest of the batch.

A reply can be preferred in a language: its first token belongs to that language, where the model allows it. A language
model goes on in the language that it has begun, so only the first token is restricted. A model that hardly ever answers
in that language would begin an answer to another question, and generate the wrong medium; so it is left unrestricted.

Shapes: B rows, S positions of the longest row, T tokens of a reply, V vocabulary with the added tokens, H heads,
D model width, L x C a decoder's condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from data.text_files import join_texts
from nextgpt_lite.decoding import Decoding, Engine, Prepared
from nextgpt_lite.decoding.llama import LlamaEngine, can_decode
from nextgpt_lite.signal_tokens import SignalTable

if TYPE_CHECKING:
    from nextgpt_lite.model import AnyToAnyCore

#: What the first token of a reply in each language must contain.
LETTERS = {"en": re.compile("[A-Za-z]"), "zh": re.compile("[\u4e00-\u9fff]")}
LANGUAGES = tuple(LETTERS)
#: The least probability of all first tokens in a language together for which that language is preferred.
MIN_PROBABILITY = 1 / 3


def disallowed_first_tokens(tokenizer: PreTrainedTokenizerBase, table: SignalTable, language: str) -> torch.Tensor:
    """True (V,) for tokens that a reply in ``language`` ("en" or "zh") does not begin with; signal tokens are allowed.

    ValueError for another language.
    """
    if language not in LETTERS:
        raise ValueError(f"answers in {language!r} are not known: expected {' or '.join(LETTERS)}")
    disallowed = torch.zeros(table.first + len(table.names), dtype=torch.bool)
    for token in range(table.first):
        text = str(tokenizer.decode([token], skip_special_tokens=True))
        disallowed[token] = LETTERS[language].search(text) is None
    return disallowed


def prefer_language(logits: torch.Tensor, disallowed: torch.Tensor) -> torch.Tensor:
    """A reply's first ``logits`` (V,) without the ``disallowed`` tokens (V,).

    Unchanged where the model gives the allowed ones less than :data:`MIN_PROBABILITY` together.
    """
    likely = torch.softmax(logits.float(), dim=-1)[~disallowed].sum() >= MIN_PROBABILITY
    return logits.masked_fill(disallowed, torch.finfo(logits.dtype).min) if likely else logits


def nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """``probabilities`` (V,), zero but for the likeliest tokens that have ``top_p`` together (1904.09751, Sec. 3.1)."""
    ordered, tokens = probabilities.sort(descending=True)
    kept = ordered.cumsum(-1) - ordered <= top_p  # the likeliest is always kept
    return torch.zeros_like(probabilities).scatter(-1, tokens, ordered * kept)


@dataclass(frozen=True, eq=False)
class Sampling:
    """How a reply is generated: greedily at ``temperature`` 0, else from the likeliest tokens that make up ``top_p``.

    ``disallowed_first`` (V,) is true for tokens that the reply should not begin with (:func:`disallowed_first_tokens`).
    A reply without a span of ``required_modality`` gets one at its end.
    """

    max_new_tokens: int = 160
    temperature: float = 0.0
    seed: int = 0
    disallowed_first: torch.Tensor | None = None
    required_modality: str | None = None
    top_p: float = 1.0


@dataclass(eq=False)
class Row:
    """A reply that is being generated.

    ``ids`` are its tokens so far without the end token, ``states`` (D,) the hidden states of those that the model has
    read. When it is ``finished``: ``reply_ids`` with whole signal spans, the modality of each span in order with its
    ``conditions`` (L, C), None without an output projection, and how many signal tokens had to be ``repaired``.
    """

    prepared: Prepared
    sampling: Sampling
    generator: torch.Generator
    ids: list[int] = field(default_factory=list)
    states: list[torch.Tensor] = field(default_factory=list)
    finished: bool = False
    reply_ids: list[int] = field(default_factory=list)
    conditions: list[tuple[str, torch.Tensor | None]] = field(default_factory=list)
    repaired: int = 0

    def choose(self, logits: torch.Tensor, best: int) -> int:
        """The next token by ``logits`` (V,), whose maximum is at ``best``."""
        sampling = self.sampling
        if sampling.disallowed_first is not None and not self.ids:
            logits = prefer_language(logits, sampling.disallowed_first)
            best = int(logits.argmax())
        if sampling.temperature == 0:
            return best
        probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
        if sampling.top_p < 1:
            probabilities = nucleus(probabilities, sampling.top_p)
        return int(torch.multinomial(probabilities, 1, generator=self.generator))


def open_engine(core: AnyToAnyCore, decoding: Decoding) -> Engine:
    """The engine of this project where it computes what the core computes, else (or by name) transformers'."""
    if decoding.engine == "own" and can_decode(core):
        return LlamaEngine(core, decoding)
    from nextgpt_lite.decoding.through_transformers import TransformersEngine

    return TransformersEngine(core)


class TextBatch:
    """The rows that a core generates at present.

    ``end`` is the id of the end token, or those of several.
    """

    def __init__(self, core: AnyToAnyCore, end: int | Collection[int], decoding: Decoding | None = None) -> None:
        self.core, self.end = core, {end} if isinstance(end, int) else set(end)
        self.rows: list[Row] = []
        self.decoding = decoding or Decoding()
        self.engine = open_engine(core, self.decoding)

    @torch.no_grad()
    def add(self, requests: Sequence[tuple[Prepared, Sampling]]) -> list[Row]:
        """Read prompts and choose the first token of each reply; rows join unless finished by that."""
        device = self.core.added_embedding.device
        rows = [
            Row(prepared, sampling, torch.Generator(device).manual_seed(sampling.seed))
            for prepared, sampling in requests
        ]
        logits = self.engine.join([row.prepared for row in rows])
        self.rows = [*self.rows, *rows]
        self._take(rows, logits)
        self._remove_finished()
        return rows

    @torch.no_grad()
    def step(self) -> list[Row]:
        """One more token for each row. Those that are finished by it leave and are returned."""
        if not self.rows:
            return []
        states, logits = self.engine.step([row.ids[-1] for row in self.rows])
        for row, state in zip(self.rows, states, strict=True):
            row.states.append(state)
        self._take(self.rows, logits)
        return self._remove_finished()

    def remove(self, row: Row) -> None:
        """Take an unfinished row out."""
        self._keep([other for other in self.rows if other is not row])

    def _take(self, rows: list[Row], logits: torch.Tensor) -> None:
        """Choose the next token of each row by logits (B, V)."""
        for row, own, best in zip(rows, logits, logits.argmax(-1).tolist(), strict=True):
            token = row.choose(own, best)
            if token not in self.end:
                row.ids.append(token)
            row.finished = token in self.end or len(row.ids) >= row.sampling.max_new_tokens

    def _remove_finished(self) -> list[Row]:
        finished = [row for row in self.rows if row.finished]
        for row in finished:
            self._complete(row)
        if finished:
            self._keep([row for row in self.rows if not row.finished])
        return finished

    def _keep(self, rows: list[Row]) -> None:
        """Leave out all other rows."""
        self.engine.keep([self.rows.index(row) for row in rows])
        self.rows = rows

    def _complete(self, row: Row) -> None:
        """Repair the signal spans of a finished reply and project their states to conditions."""
        table, required = self.core.table, row.sampling.required_modality
        ids = row.ids
        if required and table.spans[required].start not in ids:
            ids = [*ids, *table.spans[required]]
        row.reply_ids, modalities, row.repaired = table.complete(ids)
        if not modalities:
            return
        states = self._states(row)  # (1, T, D)
        reply = torch.tensor([row.reply_ids[: states.shape[1]]], device=states.device)
        made = {
            modality: list(self.core.conditions(reply, states, modality, row.prepared.ids))
            for modality in dict.fromkeys(modalities)
            if modality in self.core.output_projections
        }
        row.conditions = [(m, made[m].pop(0) if m in made else None) for m in modalities]

    def _states(self, row: Row) -> torch.Tensor:
        """Hidden states (1, T, D) of a completed reply to its last signal token; tokens that were not generated but
        put in by the repair, and those after them, are read now."""
        table, ids = self.core.table, row.reply_ids
        count = max(place for place, token in enumerate(ids) if token >= table.first_signal) + 1
        pairs = zip(ids, row.ids[: len(row.states)], strict=False)
        known = next((place for place, (own, generated) in enumerate(pairs) if own != generated), len(row.states))
        known = min(known, count)
        states = torch.stack(row.states[:known])[None] if known else None
        if known == count:
            assert states is not None
            return states
        read = self.engine.read_behind(self.rows.index(row), len(row.prepared.ids) + known, ids[known:count])
        return read if states is None else torch.cat([states, read], dim=1)


@torch.no_grad()
def generate(
    core: AnyToAnyCore,
    end: int | Collection[int],
    requests: Sequence[tuple[Prepared, Sampling]],
    on_token: Callable[[Row], None] | None = None,
    decoding: Decoding | None = None,
) -> list[Row]:
    """Replies to several conversations, generated together; ``on_token`` is called with a row after each token."""
    batch = TextBatch(core, end, decoding)
    rows = batch.add(requests) if requests else []
    while True:
        if on_token is not None:
            for row in rows:
                on_token(row)
        if not batch.rows:
            return rows
        batch.step()


def end_tokens(core: AnyToAnyCore, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids that end a reply: the tokenizer's, and those of the language model's ``generation_config.json``."""
    listed = getattr(core.language_model.generation_config, "eos_token_id", None)
    found = [tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])]
    return {token for token in found if isinstance(token, int) and token < core.table.first}


def reply_text(tokenizer: PreTrainedTokenizerBase, table: SignalTable, ids: list[int]) -> tuple[str, list[int]]:
    """The text of a reply, as far as it goes, and how many of its characters stand before each signal span."""
    pieces = [str(tokenizer.decode(words, skip_special_tokens=True)) for words in table.words(ids)]
    text = join_texts([pieces[0].lstrip(), *pieces[1:]]).rstrip()
    lengths = [len(join_texts([pieces[0].lstrip(), *pieces[1:count]])) for count in range(1, len(pieces))]
    return text, [min(length, len(text)) for length in lengths]


class TextStream:
    """Hands the text of a growing reply to a callback each time it grows; signal tokens are not text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, table: SignalTable, on_text: Callable[[str], None]) -> None:
        self.tokenizer, self.table, self.on_text = tokenizer, table, on_text
        self.shown, self.count = "", 0

    def update(self, row: Row) -> None:
        """Show what the row's newest tokens add; half a character is shown only when the row is finished."""
        if len(row.ids) == self.count and not row.finished:
            return
        self.count = len(row.ids)
        text, _ = reply_text(self.tokenizer, self.table, row.ids)
        if text != self.shown and (row.finished or not text.endswith("\ufffd")):
            self.shown = text
            self.on_text(text)
