"""Parsed records with their place in a source; those that cannot be used are named, counted, refused beyond a limit."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.manifest import BadRecord, Record, manifest_records, parse_entries

#: What a run does with records that cannot be used: stop at the first, or skip them up to a limit.
POLICIES = ("refuse", "skip")
REJECTED = "rejected.jsonl"
#: A stream's length is not known: its share of bad records is taken of at least this many.
STREAM_HORIZON = 1000
SHOWN = 3


class TooManyBadRecords(ValueError):
    """More records cannot be used than the limit allows; the message says how many, and names the first."""


@dataclass(frozen=True)
class ParsedRecord:
    """What one place of a source holds: a record, or the reason why there is none.

    ``where`` names the place for people ("train.json, line 812"). A ``record`` has the keys ``messages`` and ``meta``
    of a manifest; it is None where ``problem`` says what is wrong.
    """

    where: str
    record: Record | None = None
    problem: str = ""


def parse_records(
    entries: Iterable[tuple[str, Any]], parse: Callable[[Any], Record | list[Record]]
) -> Iterator[ParsedRecord]:
    """``parse`` applied to the entries of a source, which are (place, entry) each. Every reader's records go this way.

    A bad record (:func:`data.manifest.parse_entries`) is a problem of its place alone, and so is one without a reply to
    learn from. Several records of one entry share its place.
    """

    def checked(entry: Any) -> list[Record]:
        parsed = parse(entry)
        records = parsed if isinstance(parsed, list) else [parsed]
        for record in records:
            _check_replies(record)
        return records

    for where, found in parse_entries(entries, checked):
        if isinstance(found, BadRecord):
            yield ParsedRecord(where, problem=str(found))
        else:
            yield from (ParsedRecord(where, record) for record in found)


def scan_manifest(path: str | os.PathLike[str], task: str = "tell") -> Iterator[ParsedRecord]:
    """Every line of a manifest, those that are wrong with their problem. FormatError where it cannot be read at all.

    ``task`` says what the captions of a table are for. Where :func:`data.manifest.read_manifest` stops at the first bad
    line, this goes on.
    """
    return parse_records(manifest_records(path, task), lambda record: record)


def _check_replies(record: Record) -> None:
    """BadRecord for a record that teaches nothing: no reply of an assistant, or an empty one."""
    replies = [message for message in record["messages"] if message["role"] == "assistant"]
    if not replies:
        raise BadRecord("there is no reply of an assistant to learn from")
    for number, reply in enumerate(replies, start=1):
        if not any(part["type"] != "text" or part["text"].strip() for part in reply["content"]):
            raise BadRecord(f"reply {number} of the assistant is empty")


class BadRecords:
    """The records of a run that cannot be used.

    Args:
        policy: "refuse" allows none, "skip" a share of ``limit``.
        limit: share of all records, 0 to 1.
        total: how many records there are; None = a stream, or not known yet.
        path: a file to which each is appended as a line ``{"where", "reason"}``.
    """

    def __init__(self, policy: str, limit: float, total: int | None = None, path: Path | None = None) -> None:
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r} for bad records: expected one of {', '.join(POLICIES)}")
        if not 0 <= limit <= 1:
            raise ValueError(f"the limit of bad records is a share from 0 to 1, not {limit}")
        self.limit = limit if policy == "skip" else 0.0
        self.total, self.path = total, path
        self.seen = 0
        self.found: dict[str, str] = {}  # place -> reason

    def add(self, where: str, reason: str) -> None:
        """Count a record that cannot be used; each place counts once."""
        if where in self.found:
            return
        self.found[where] = reason
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(where, reason))

    def check(self) -> None:
        """Raise TooManyBadRecords when the limit is exceeded."""
        total = max(self.seen, STREAM_HORIZON) if self.total is None else self.total
        if len(self.found) <= self.limit * total:
            return
        allowed = f"more than the share of {self.limit:g} allowed" if self.limit else "and none is allowed"
        first = "; ".join(f"{where}: {reason}" for where, reason in list(self.found.items())[:SHOWN])
        more = f"; and {len(self.found) - SHOWN} more" if len(self.found) > SHOWN else ""
        known = self.seen if self.total is None else self.total
        raise TooManyBadRecords(f"{len(self.found)} of {known} records cannot be used, {allowed}: {first}{more}")

    def write(self, path: Path) -> None:
        """Write all of them as JSON lines to ``path``; later ones are appended there."""
        path.write_text("".join(_line(where, reason) for where, reason in self.found.items()), encoding="utf-8")
        self.path = path


def _line(where: str, reason: str) -> str:
    return json.dumps({"where": where, "reason": reason}, ensure_ascii=False) + "\n"
