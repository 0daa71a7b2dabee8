"""Tables of labelled media: a CSV file with the columns ``path``, ``modality`` and one of labels.

MNIST, the Free Spoken Digit Dataset, folders of animals or commands: any list of files that show one thing each. Every
medium becomes a few conversations: what is this; make one; the same in another modality ("draw the digit that you
hear": any other file of the label); and two of these as two turns. Pairs never leave their split.

    nextgpt-lite import labelled digits/labels.csv --out runs/digits_train --set split=train --set words=digits.yaml
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats.labelled_words import LabelWords, read_words
from data.formats.sources import table_rows
from data.manifest import BadRecord, FormatError, Record
from data.records import ParsedRecord, parse_records

SPLIT = "split"
#: One medium in so many starts a conversation of two turns about it, and one of two turns about two things.
FOLLOWED, PAIRED = 3, 5
Row = dict[str, str]


def records(source: Path, *, media: Path | None = None, split: str = "", words: str = "") -> Iterator[ParsedRecord]:
    """Conversations about every row of the table.

    Args:
        split: only rows with this value in the column ``split``; none = all, but pairs stay within a split.
        words: a YAML file of data.formats.labelled_words; none = a noun and names made of the table's own words.
    """
    rows = list(table_rows(source, ("path", "modality")))
    good = [row for _, row in rows if not isinstance(row, BadRecord)]
    label_words = read_words(Path(words) if words else None, list(good[0]) if good else [])
    known = {row.get(SPLIT, "") for row in good}
    if split and split not in known:
        raise FormatError(f"{source}: no row of the split {split!r}; known are {', '.join(sorted(known))}")
    chosen = [(at, row) for at, row in rows if isinstance(row, BadRecord) or not split or row[SPLIT] == split]
    return parse_records(chosen, LabelTable(label_words, good).conversations)


class LabelTable:
    """Rows by what they show, and the conversations that are made of one."""

    def __init__(self, words: LabelWords, rows: list[Row]) -> None:
        self.words = words
        self.same: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        self.all: dict[str, list[Row]] = defaultdict(list)
        for row in (row for row in rows if not self._problem(row)):
            self.same[row.get(SPLIT, ""), row["modality"], row[words.label]].append(row)
            self.all[row.get(SPLIT, "")].append(row)
        self.modalities = [modality for modality in words.ask if any(row["modality"] == modality for row in rows)]

    def conversations(self, row: Row) -> list[Record]:
        """All conversations that begin with the medium of ``row`` or are to make it. BadRecord for a wrong row."""
        if problem := self._problem(row):
            raise BadRecord(problem)
        modality = row["modality"]
        rng = random.Random(f"{row['path']} {row[self.words.label]}")
        found = [self._record("tell", row, self.tell(row, rng))]
        if self.words.can_make(modality):
            found.append(self._record("make", row, self.make(row, rng)))
            for other in self.modalities:
                if other != modality and (shown := self._another(row, other, rng)):
                    found.append(self._record("convert", row, self.convert(shown, row, rng)))
        if rng.randrange(FOLLOWED) == 0:
            found += self._follow(row, rng)
        if rng.randrange(PAIRED) == 0:
            other = rng.choice(self.all[row.get(SPLIT, "")])
            second = (self.make if self.words.can_make(other["modality"]) else self.tell)(other, rng)
            found.append(self._record("two", row, self.tell(row, rng) + second, attributes={}))
        return found

    def _problem(self, row: Row) -> str:
        if row["modality"] not in self.words.ask:
            return f"unknown modality {row['modality']!r}: known are {', '.join(self.words.ask)}"
        return "" if row[self.words.label].strip() else f"the column {self.words.label!r} is empty"

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
        """A medium is shown, or was before (None), and the same is requested in another modality."""
        requests = (self.words.convert if shown else self.words.follow)[row["modality"]]
        asked = _text(self.words.say(rng.choice(requests)))
        return [_message("user", *([self._part(shown)] if shown else []), asked), self._made(row)]

    def _follow(self, row: Row, rng: random.Random) -> list[Record]:
        """A medium is named, then requested in another modality."""
        others = [m for m in self.modalities if self.words.can_make(m) and m != row["modality"]]
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
        """``attributes`` are true of every medium of the conversation; ``meta`` also holds the table's columns."""
        columns = {name: value for name, value in row.items() if name not in ("path", "modality")}
        shown = {self.words.noun: self.words.name(row[self.words.label])} if attributes is None else attributes
        return {"messages": messages, "meta": {**columns, "kind": kind, "attributes": shown}}


def _message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}
