"""The one table of placeholders and signal tokens: their names, their ids, where they stand in a sequence.

A placeholder (``<image>``) marks where a medium came in; a span of signal tokens (``<image_00>`` ...)
asks a decoder for one. They are added behind the base vocabulary, so the base model's own rows stay as they are.
Which media come in and go out stands in the core's configuration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

#: What comes in where a configuration names nothing: the media of checkpoints from before the list was stored.
DEFAULT_INPUTS = ("image", "video", "audio", "points")
#: Precedes the placeholder of a medium that the assistant itself has generated in an earlier turn.
OWN = "<own>"


def placeholder(modality: str) -> str:
    """The token that stands where a medium of ``modality`` came in."""
    return f"<{modality}>"


def signal_span(modality: str, count: int) -> list[str]:
    """The ``count`` signal tokens of an output modality, in order."""
    return [f"<{modality}_{i:02d}>" for i in range(count)]


@dataclass(frozen=True)
class SignalTable:
    """Ids of the added tokens: placeholders of ``inputs``, :data:`OWN`, then the signal tokens of each modality.

    Ids below ``first_signal`` are never generated.
    """

    first: int  #: id of the first added token
    counts: dict[str, int]  #: output modality -> number of signal tokens, in the order of their ids
    input_tokens: int | dict[str, int] = (
        1  #: placeholders in a row of a medium that comes in, for all or one a modality
    )
    inputs: tuple[str, ...] = DEFAULT_INPUTS  #: input modalities, in the order of their placeholders' ids

    @property
    def names(self) -> list[str]:
        """All added tokens, in the order of their ids."""
        signals = (token for modality, count in self.counts.items() for token in signal_span(modality, count))
        return [*map(placeholder, self.inputs), OWN, *signals]

    @property
    def shown(self) -> tuple[str, ...]:
        """Input modalities that can be shown: all of them, but where ``input_tokens`` has some alone, these."""
        tokens = self.input_tokens
        return self.inputs if isinstance(tokens, int) else tuple(name for name in self.inputs if name in tokens)

    @property
    def first_signal(self) -> int:
        return self.first + len(self.inputs) + 1

    @property
    def placeholders(self) -> dict[str, int]:
        return {modality: self.first + i for i, modality in enumerate(self.inputs)}

    @property
    def spans(self) -> dict[str, range]:
        spans, start = {}, self.first_signal
        for modality, count in self.counts.items():
            spans[modality] = range(start, start + count)
            start += count
        return spans

    def placeholders_of(self, modality: str) -> str:
        """What stands in the text where a medium of ``modality`` came in. ValueError for one that does not come in."""
        if modality not in self.shown:
            raise ValueError(f"unknown input modality {modality!r}: expected one of {', '.join(self.shown)}")
        count = self.input_tokens[modality] if isinstance(self.input_tokens, dict) else self.input_tokens
        return placeholder(modality) * count

    def placeholder_mask(self, input_ids: torch.Tensor) -> torch.Tensor:
        """True where a placeholder stands; same shape as ``input_ids``."""
        return (input_ids >= self.first) & (input_ids < self.first + len(self.inputs))

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
        result: list[int] = []
        modalities: list[str] = []
        repaired = 0
        for piece, modality in self._pieces(ids):
            if modality:
                span = self.spans[modality]
                modalities.append(modality)
                result += piece if len(piece) >= len(span) else span
                repaired += max(len(span) - len(piece), 0)
            elif piece[0] < self.first_signal:
                result += piece
            else:
                repaired += 1  # dropped
        return result, modalities, repaired

    def words(self, ids: list[int]) -> list[list[int]]:
        """The words of a reply, as far as it goes: those before each of its signal spans, and those after the last."""
        words: list[list[int]] = [[]]
        for piece, modality in self._pieces(ids):
            if modality:
                words.append([])
            elif piece[0] < self.first:
                words[-1] += piece
        return words

    def words_of_spans(self, ids: list[int]) -> list[list[int]]:
        """For each signal span of a reply the words that go with it: those before it, or those of the span before."""
        words: list[list[int]] = []
        for own in self.words(ids)[:-1]:
            words.append(own or (words[-1] if words else []))
        return words

    def _pieces(self, ids: list[int]) -> Iterator[tuple[list[int], str | None]]:
        """A reply in pieces: each signal span, whole or as far as it goes, with its modality; any other id alone."""
        starts = {span.start: (modality, span) for modality, span in self.spans.items()}
        at = 0
        while at < len(ids):
            modality, span = starts.get(ids[at], (None, range(0)))
            width = self._width(ids, at, span)
            if modality and not width:
                width = next(i for i in range(len(span)) if ids[at + i : at + i + 1] != [span[i]])
            yield ids[at : at + max(width, 1)], modality
            at += max(width, 1)

    def _width(self, ids: list[int], start: int, span: range) -> int:
        """Ids that a whole span from ``start`` takes: n, or 2n - 1 with base tokens between; 0 if it is not whole."""
        if ids[start : start + len(span)] == list(span):
            return len(span)
        wide = ids[start : start + 2 * len(span) - 1]
        apart = wide[::2] == list(span) and all(token < self.first for token in wide[1::2])
        return len(wide) if apart else 0


def add_to_tokenizer(
    tokenizer: PreTrainedTokenizerBase, counts: dict[str, int], inputs: Sequence[str] = DEFAULT_INPUTS
) -> SignalTable:
    """Add the tokens behind the vocabulary of ``tokenizer`` (in place) and return their table."""
    table = SignalTable(len(tokenizer), dict(counts), inputs=tuple(inputs))
    vocabulary = tokenizer.get_vocab()
    clash = [name for name in table.names if name in vocabulary]
    if clash:
        raise ValueError(f"the tokenizer already has {clash[0]!r}: add signal tokens to the base tokenizer only once")
    tokenizer.add_tokens(table.names, special_tokens=True)
    return table


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, table: SignalTable) -> None:
    """Refuse a tokenizer whose added rows do not stand where the model expects them."""
    for offset, name in enumerate(table.names):
        found, expected = tokenizer.convert_tokens_to_ids(name), table.first + offset
        if found != expected:
            raise ValueError(f"the tokenizer has {name!r} at row {found}, the model expects row {expected}")
