"""Tables of labelled media: a CSV file with the columns ``path``, ``modality`` and one of labels.

MNIST, the Free Spoken Digit Dataset, folders of animals or commands: any list of files that show one thing each. Every
medium becomes a few conversations: what is this; make one; the same in another modality ("draw the digit that you
hear": any other file of the label); and two of these in a row. Pairs never leave their split.

    nextgpt-lite import labelled digits/labels.csv --out runs/digits_train --set split=train --set words=digits.yaml
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import BadRecord, Located
from data.formats.labelled_words import LabelWords, read_words
from data.formats.sources import table_rows
from data.manifest import FormatError, Record

#: Media that the assistant can make as well, and those that it can only be shown.
MADE, SHOWN = ("image", "audio", "video"), ("image", "audio", "video", "points")
SPLIT = "split"
#: One medium in so many begins a conversation of two turns about it, and one of two turns about two things.
FOLLOWED, PAIRED = 3, 5
Row = dict[str, str]


def records(source: Path, *, media: Path | None = None, split: str = "", words: str = "") -> Iterator[Located]:
    """Conversations about every row of the table.

    Args:
        split: only rows with this value in the column ``split``; none = all, but pairs stay within a split.
        words: a YAML file of data.formats.labelled_words; none = a noun and names made of the table's own words.
    """
    rows = list(table_rows(source, ("path", "modality")))
    columns = next((list(row) for _, row in rows if isinstance(row, dict)), [])
    told = read_words(Path(words) if words else None, columns)
    good = [(where, row) for where, row in rows if not isinstance(row, BadRecord)]
    known = {row.get(SPLIT, "") for _, row in good}
    if split and split not in known:
        raise FormatError(f"{source}: no row of the split {split!r}; known are {', '.join(sorted(known))}")
    table = LabelTable(told, [row for _, row in good])
    for where, row in rows:
        if isinstance(row, BadRecord):
            yield Located(where, problem=str(row))
        elif not split or row[SPLIT] == split:
            yield from _located(where, row, table)


def _located(where: str, row: Row, table: LabelTable) -> Iterator[Located]:
    try:
        made = table.conversations(row)
    except BadRecord as error:
        yield Located(where, problem=str(error))
        return
    for record in made:
        yield Located(where, record)


class LabelTable:
    """Rows by what they show, and the conversations that are made of one."""

    def __init__(self, words: LabelWords, rows: list[Row]) -> None:
        self.words = words
        self.same: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        self.all: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            self.same[row.get(SPLIT, ""), row["modality"], row[words.label]].append(row)
            self.all[row.get(SPLIT, "")].append(row)
        self.modalities = [modality for modality in SHOWN if any(row["modality"] == modality for row in rows)]

    def conversations(self, row: Row) -> list[Record]:
        """All conversations that begin with the medium of ``row`` or are to make it. BadRecord for a wrong row."""
        modality, label = row["modality"], row[self.words.label]
        if modality not in SHOWN:
            raise BadRecord(f"unknown modality {modality!r}: known are {', '.join(SHOWN)}")
        if not label.strip():
            raise BadRecord(f"the column {self.words.label!r} is empty")
        rng = random.Random(f"{row['path']} {label}")
        found = [self._record("tell", row, self.tell(row, rng))]
        if modality in MADE:
            found.append(self._record("make", row, self.make(row, rng)))
            for other in self.modalities:
                if other != modality and (shown := self._another(row, other, rng)):
                    found.append(self._record("convert", row, self.convert(shown, row, rng)))
        if rng.randrange(FOLLOWED) == 0:
            found += self._follow(row, rng)
        if rng.randrange(PAIRED) == 0:
            other = rng.choice(self.all[row.get(SPLIT, "")])
            second = (self.make if other["modality"] in MADE else self.tell)(other, rng)
            found.append(self._record("two", row, self.tell(row, rng) + second, attributes={}))
        return found

    # -- turns --------------------------------------------------------------------------------------------------------

    def tell(self, row: Row, rng: random.Random) -> list[dict[str, Any]]:
        """A medium is shown, the assistant names it."""
        asked = self.words.say(rng.choice(self.words.ask[row["modality"]]))
        return [_message("user", self._part(row), _text(asked)), _message("assistant", self._answer("tell", row))]

    def make(self, row: Row, rng: random.Random) -> list[dict[str, Any]]:
        """A medium is asked for by name."""
        name = rng.choice(self.words.spoken(row[self.words.label]))
        asked = self.words.say(rng.choice(self.words.make[row["modality"]]), name)
        return [_message("user", _text(asked)), self._made(row)]

    def convert(self, shown: Row | None, row: Row, rng: random.Random) -> list[dict[str, Any]]:
        """A medium is shown, or was before (None), and the same is wanted in another modality."""
        wanted = (self.words.convert if shown else self.words.follow)[row["modality"]]
        asked = _text(self.words.say(rng.choice(wanted)))
        return [_message("user", *([self._part(shown)] if shown else []), asked), self._made(row)]

    def _follow(self, row: Row, rng: random.Random) -> list[Record]:
        """A medium is named, then wanted in another modality."""
        others = [m for m in self.modalities if m in MADE and m != row["modality"]]
        target = self._another(row, rng.choice(others), rng) if others else None
        if target is None:
            return []
        return [self._record("follow", row, self.tell(row, rng) + self.convert(None, target, rng))]

    # -- parts --------------------------------------------------------------------------------------------------------

    def _made(self, row: Row) -> dict[str, Any]:
        return _message("assistant", self._answer(row["modality"], row), self._part(row))

    def _answer(self, kind: str, row: Row) -> dict[str, str]:
        return _text(self.words.say(self.words.answers[kind], self.words.name(row[self.words.label])))

    def _part(self, row: Row) -> dict[str, str]:
        return {"type": row["modality"], "path": row["path"], "caption": self.words.name(row[self.words.label])}

    def _another(self, row: Row, modality: str, rng: random.Random) -> Row | None:
        """A medium of another modality with the same label and of the same split."""
        found = self.same.get((row.get(SPLIT, ""), modality, row[self.words.label]))
        return rng.choice(found) if found else None

    def _record(
        self, kind: str, row: Row, messages: list[dict[str, Any]], attributes: dict[str, str] | None = None
    ) -> Record:
        """``attributes`` hold of every medium of the conversation; the columns of the table ride along."""
        columns = {name: value for name, value in row.items() if name not in ("path", "modality")}
        shown = {self.words.noun: self.words.name(row[self.words.label])} if attributes is None else attributes
        return {"messages": messages, "meta": {**columns, "kind": kind, "attributes": shown}}


def _message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}
