"""Records and where they stand; what becomes of those that cannot be used: named, counted, refused beyond a limit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.manifest import FormatError, Record, read_line

#: What a run does with records that cannot be used: stop at the first, or go on without them up to a limit.
POLICIES = ("refuse", "skip")
REJECTED = "rejected.jsonl"
#: A stream's length is not known: below this many records its share of bad ones is taken of this many.
STREAM_HORIZON = 1000
SHOWN = 3


class BadRecord(ValueError):
    """One record that cannot be used; the message is a sentence without its place."""


class TooManyBadRecords(ValueError):
    """More records cannot be used than the limit allows; the message says how many, and names the first."""


@dataclass(frozen=True)
class Located:
    """What stands at one place of a source: a record, or the reason why there is none.

    ``where`` names it for people ("train.json, line 812"). A ``record`` has the keys ``messages`` and ``meta`` of a
    manifest; it is None where ``problem`` says what is wrong.
    """

    where: str
    record: Record | None = field(default=None)
    problem: str = ""


def scan_manifest(path: str | os.PathLike[str]) -> Iterator[Located]:
    """Every line of a manifest, those that are wrong with their problem. FormatError where it cannot be read at all.

    What :func:`data.manifest.read_manifest` refuses at the first bad line, this goes on after.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _scanned(line, path.parent, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _scanned(line: str, folder: Path, where: str) -> Located:
    try:
        record = read_line(line, folder, where)
        check_replies(record)
    except FormatError as error:
        return Located(where, problem=str(error).removeprefix(f"{where}: "))
    except BadRecord as error:
        return Located(where, problem=str(error))
    return Located(where, record)


def check_replies(record: Record) -> None:
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
        """Note a record that cannot be used; each place counts once, however often it is met."""
        if where in self.found:
            return
        self.found[where] = reason
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(where, reason))

    def check(self) -> None:
        """TooManyBadRecords where the limit is passed."""
        total = max(self.seen, STREAM_HORIZON) if self.total is None else self.total
        if len(self.found) <= self.limit * total:
            return
        most = f"more than the share of {self.limit:g} allowed" if self.limit else "and none is allowed"
        first = "; ".join(f"{where}: {reason}" for where, reason in list(self.found.items())[:SHOWN])
        more = f"; and {len(self.found) - SHOWN} more" if len(self.found) > SHOWN else ""
        known = self.seen if self.total is None else self.total
        raise TooManyBadRecords(f"{len(self.found)} of {known} records cannot be used, {most}: {first}{more}")

    def write(self, path: Path) -> None:
        """All of them as JSON lines at ``path``, and from now on each new one behind them."""
        path.write_text("".join(_line(where, reason) for where, reason in self.found.items()), encoding="utf-8")
        self.path = path


def _line(where: str, reason: str) -> str:
    return json.dumps({"where": where, "reason": reason}, ensure_ascii=False) + "\n"
