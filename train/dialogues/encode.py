"""Dialogues made ready for the stages: token rows, the media that they point into, and their mixture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from data.records import BadRecord, BadRecords, Located
from nextgpt_lite.conversation import ConversationError, encode
from nextgpt_lite.signal_tokens import OUTPUT_MODALITIES, SignalTable
from train.dialogues.media import AT_START, FilePart, Part, embedded
from train.dialogues.records import TOYBOX, Spoken, messages_of

__all__ = ["DialogueRows", "Row", "encode_row", "messages_of", "mixed"]


@dataclass(frozen=True)
class Row:
    """One dialogue: ids, which of them the assistant says, media by number; what the assistant makes, by modality."""

    ids: list[int]
    spoken: list[int]
    media: list[int]
    captions: dict[str, list[str]]
    made: dict[str, list[Part]]
    kind: str = ""
    where: str = ""
    source: str = ""
    instruction: bool | None = None

    @property
    def embedded(self) -> str:
        """When what the row makes is encoded, see train.dialogues.media."""
        return next((embedded(part) for parts in self.made.values() for part in parts), AT_START)

    def __getitem__(self, index: int) -> list[int]:
        """The first member is the ids: what train.dialogues.bins sorts by."""
        return (self.ids, self.spoken)[index]


class DialogueRows:
    """Token rows of dialogues, and the media parts that they point into by number.

    What cannot be used is counted in ``bad``: places of a source without a record, what the model has no tokens for,
    rows of more than ``longest`` tokens. Without ``bad`` the first of them raises data.records.BadRecord.
    ``embeddings[number]`` is what the encoder gives for a part; who made the rows puts it there.
    """

    embeddings: Any = ()

    def __init__(
        self,
        spoken: Iterable[Spoken | Located],
        tokenizer: PreTrainedTokenizerBase,
        table: SignalTable,
        *,
        modalities: Sequence[str],
        bad: BadRecords | None = None,
        longest: int | None = None,
    ) -> None:
        self.parts: list[Part] = []
        self.rows: list[Row] = []
        self._numbers: dict[FilePart, int] = {}
        self._encode = lambda one: encode_row(one, tokenizer, table, modalities, longest)
        for one in spoken:
            self._add(one, bad)

    @property
    def kinds(self) -> list[str]:
        """The kind of each row."""
        return [row.kind for row in self.rows]

    def without(self, broken: dict[int, str], bad: BadRecords) -> None:
        """Leave out the rows that show one of the ``broken`` media, numbers to reasons."""
        for row in self.rows:
            if numbers := [number for number in row.media if number in broken]:
                bad.add(row.where, broken[numbers[0]])
        self.rows = [row for row in self.rows if row.where not in bad.found]

    def _add(self, one: Spoken | Located, bad: BadRecords | None) -> None:
        if bad is not None:
            bad.seen += 1
        try:
            if isinstance(one, Located):
                raise BadRecord(one.problem)
            row, media = self._encode(one)
        except BadRecord as error:
            if bad is None:
                raise
            bad.add(one.where, str(error))
            return
        row.media.extend(self._number(part) for part in media)
        self.rows.append(row)

    def _number(self, part: Part) -> int:
        """The number of a part; a file has one however often it is shown."""
        if isinstance(part, FilePart) and part in self._numbers:
            return self._numbers[part]
        self.parts.append(part)
        if isinstance(part, FilePart):
            self._numbers[part] = len(self.parts) - 1
        return len(self.parts) - 1


def encode_row(
    spoken: Spoken,
    tokenizer: PreTrainedTokenizerBase,
    table: SignalTable,
    modalities: Sequence[str],
    longest: int | None = None,
) -> tuple[Row, list[Part]]:
    """A dialogue as a row without its media's numbers, and these media in the order of their placeholders.

    BadRecord where the model has no tokens for it, its encoder does not read it (``modalities``), or it is too long.
    """
    made: dict[str, list[Part]] = {modality: [] for modality in OUTPUT_MODALITIES}
    for message in spoken.messages:
        if message["role"] == "assistant":
            for part in (part["part"] for part in message["content"] if part["type"] != "text"):
                if part.modality not in table.counts:
                    raise BadRecord(f"the assistant answers with {part.modality}, which this model cannot make")
                made[part.modality].append(part)
    try:
        ids, mask, media = encode(spoken.messages, tokenizer, table, reply=False)
    except ConversationError as error:
        raise BadRecord(str(error)) from error
    for part in media:
        if part["type"] not in modalities:
            raise BadRecord(f"{part['type']} is shown, and the encoder reads {', '.join(modalities)} only")
    if longest is not None and spoken.source != TOYBOX and len(ids) > longest:
        raise BadRecord(f"the conversation has {len(ids):,} tokens, more than the {longest:,} that the model reads")
    captions = {modality: [part.caption for part in parts] for modality, parts in made.items()}
    row = Row(ids, mask, [], captions, made, spoken.kind, spoken.where, spoken.source, spoken.instruction)
    return row, [part["part"] for part in media]


def mixed(groups: Sequence[Sequence[Any]], weights: Sequence[float] | None, seed: int) -> list[Any]:
    """Rows of several sources: all of them once, or by ``weights`` as many as it takes to have every row once at least.

    By weight w of W a source gives its share w / W of the rows, each of them equally often or once more than another,
    which of them by ``seed``.
    """
    if weights is None:
        return [row for group in groups for row in group]
    shares = [weight / sum(weights) for weight in weights]
    total = max(len(group) / share for group, share in zip(groups, shares, strict=True))
    rows = []
    for number, (group, share) in enumerate(zip(groups, shares, strict=True)):
        times, rest = divmod(round(total * share), len(group))
        order = np.random.default_rng((seed, number)).permutation(len(group))[:rest]
        rows += [*list(group) * times, *(group[index] for index in order)]
    return rows
