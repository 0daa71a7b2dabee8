"""The one table of placeholders and signal tokens: their names, their ids, where they stand in a sequence.

A placeholder (``<image>``) marks where a medium came in; a span of signal tokens (``<image_00>`` ...)
asks a decoder for one. They are added behind the base vocabulary, so the base model's own rows stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

INPUT_MODALITIES = ("image", "video", "audio", "points")
OUTPUT_MODALITIES = ("image", "video", "audio")
#: Precedes the placeholder of a medium that the assistant itself has made in an earlier turn.
OWN = "<own>"


def placeholder(modality: str) -> str:
    """The token that stands where a medium of ``modality`` came in."""
    if modality not in INPUT_MODALITIES:
        raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(INPUT_MODALITIES)}")
    return f"<{modality}>"


def signal_span(modality: str, count: int) -> list[str]:
    """The ``count`` signal tokens of an output modality, in order."""
    if modality not in OUTPUT_MODALITIES:
        raise ValueError(f"no decoder for modality {modality!r}: expected one of {', '.join(OUTPUT_MODALITIES)}")
    return [f"<{modality}_{i:02d}>" for i in range(count)]


def added_tokens(counts: dict[str, int]) -> list[str]:
    """All tokens that are added to a base tokenizer, in the order of their ids."""
    silent = [placeholder(m) for m in INPUT_MODALITIES] + [OWN]
    return silent + [token for m in OUTPUT_MODALITIES if m in counts for token in signal_span(m, counts[m])]


@dataclass(frozen=True)
class SignalTable:
    """Ids of the added tokens.

    ``first`` is the id of the first added token, ``placeholders`` and ``spans`` map modalities to ids.
    Ids from ``first`` to ``first_signal`` never are generated. A medium that comes in has ``input_tokens``
    placeholders in a row, a number for all or one a modality.
    """

    first: int
    counts: dict[str, int]
    input_tokens: int | dict[str, int] = 1

    @property
    def names(self) -> list[str]:
        return added_tokens(self.counts)

    @property
    def first_signal(self) -> int:
        return self.first + len(INPUT_MODALITIES) + 1

    @property
    def placeholders(self) -> dict[str, int]:
        return {m: self.first + i for i, m in enumerate(INPUT_MODALITIES)}

    @property
    def spans(self) -> dict[str, range]:
        spans, start = {}, self.first_signal
        for modality, count in self.counts.items():
            spans[modality] = range(start, start + count)
            start += count
        return spans

    def placeholders_of(self, modality: str) -> str:
        """What stands in the text where a medium of ``modality`` came in."""
        count = self.input_tokens[modality] if isinstance(self.input_tokens, dict) else self.input_tokens
        return placeholder(modality) * count

    def placeholder_mask(self, input_ids: torch.Tensor) -> torch.Tensor:
        """True where a placeholder stands; same shape as ``input_ids``."""
        return (input_ids >= self.first) & (input_ids < self.first + len(INPUT_MODALITIES))

    def signal_mask(self, input_ids: torch.Tensor, modality: str) -> torch.Tensor:
        """True where a signal token of ``modality`` stands; same shape as ``input_ids``."""
        span = self.spans[modality]
        return (input_ids >= span.start) & (input_ids < span.stop)

    def span_places(self, input_ids: torch.Tensor, modality: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Where the spans of ``modality`` stand in ids (B, T): rows (S,), row by row, and the columns of each.

        A span of n signals has n columns, or 2n - 1 where something stands between each two: NExT-GPT's newest code
        joins them with spaces and reads those positions too. Raises ValueError for a span that is not whole.
        """
        span = self.spans[modality]
        rows, starts = (input_ids == span.start).nonzero(as_tuple=True)
        columns = []
        for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
            width = self._width(input_ids[row].tolist(), start, span)
            if not width:
                raise ValueError(f"row {row}: the {modality} span at position {start} lacks some of its {len(span)}")
            columns.append(torch.arange(start, start + width, device=input_ids.device))
        return rows, columns

    def complete(self, ids: list[int]) -> tuple[list[int], list[str], int]:
        """Make every signal span of a generated reply whole.

        A span begins with its first token; its rest is written out whatever was generated, and signal tokens
        that stand outside a span are dropped. A whole span of 2n - 1 ids stays as it is. Returns the ids, the
        modalities asked for in order, and how many tokens had to be put in or dropped (0 for a well-formed reply).
        """
        starts = {span.start: (m, span) for m, span in self.spans.items()}
        result: list[int] = []
        modalities: list[str] = []
        repaired = at = 0
        while at < len(ids):
            token = ids[at]
            if token in starts:
                modality, span = starts[token]
                modalities.append(modality)
                width = self._width(ids, at, span)
                result += ids[at : at + width] or span
                width = width or next(i for i in range(len(span)) if ids[at + i : at + i + 1] != [span[i]])
                repaired += max(len(span) - width, 0)
                at += width
                continue
            if token < self.first_signal:
                result.append(token)
            else:
                repaired += 1  # dropped
            at += 1
        return result, modalities, repaired

    def words(self, ids: list[int]) -> list[int]:
        """Ids of a completed reply without its signal spans and whatever stands between their signals."""
        starts = {span.start: span for span in self.spans.values()}
        result, at = [], 0
        while at < len(ids):
            if ids[at] in starts:
                at += self._width(ids, at, starts[ids[at]])
                continue
            result += [ids[at]] if ids[at] < self.first else []
            at += 1
        return result

    def words_of_spans(self, ids: list[int]) -> list[list[int]]:
        """For each signal span of a completed reply the words that go with it, in order.

        Those between it and the span before it; where there are none, those of the span before.
        """
        starts = {span.start: span for span in self.spans.values()}
        told: list[list[int]] = []
        since: list[int] = []
        at = 0
        while at < len(ids):
            if ids[at] in starts:
                told.append(since or (told[-1] if told else []))
                since = []
                at += self._width(ids, at, starts[ids[at]])
                continue
            since = [*since, ids[at]] if ids[at] < self.first else since
            at += 1
        return told

    def _width(self, ids: list[int], start: int, span: range) -> int:
        """Ids that a whole span from ``start`` takes: n, or 2n - 1 with base tokens between; 0 if it is not whole."""
        if ids[start : start + len(span)] == list(span):
            return len(span)
        wide = ids[start : start + 2 * len(span) - 1]
        apart = wide[::2] == list(span) and all(token < self.first for token in wide[1::2])
        return len(wide) if apart else 0


def add_to_tokenizer(tokenizer: PreTrainedTokenizerBase, counts: dict[str, int]) -> SignalTable:
    """Add the tokens behind the vocabulary of ``tokenizer`` (in place) and return their table."""
    first = len(tokenizer)
    names = added_tokens(counts)
    clash = [name for name in names if name in tokenizer.get_vocab()]
    if clash:
        raise ValueError(f"the tokenizer already has {clash[0]!r}: add signal tokens to the base tokenizer only once")
    tokenizer.add_tokens(names, special_tokens=True)
    return SignalTable(first, dict(counts))


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, table: SignalTable) -> None:
    """Refuse a tokenizer whose added rows do not stand where the model expects them."""
    for offset, name in enumerate(table.names):
        found, expected = tokenizer.convert_tokens_to_ids(name), table.first + offset
        if found != expected:
            raise ValueError(f"the tokenizer has {name!r} at row {found}, the model expects row {expected}")
