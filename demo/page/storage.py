"""Conversations in an SQLite database, the media of each in a folder of its own beside it.

They outlive the process, however it ends. When there are too many bytes, the conversation goes that was not visited for
longest: of the visitor who has too many, or of all. One that is open, or whose reply is being generated, never goes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

#: The most bytes and conversations of one visitor, and the most bytes of all visitors.
VISITOR_BYTES, VISITOR_COUNT, ALL_BYTES = 2**28, 200, 2**32
#: What each file, and each conversation, takes at least on a disk.
BLOCK = 4096
#: How long a deleted conversation can be restored, in seconds, or until the process ends.
UNDO_SECONDS = 120.0
VERSION = 2
_TABLE = """CREATE TABLE IF NOT EXISTS conversations (
    identity TEXT PRIMARY KEY, visitor TEXT NOT NULL, title TEXT, turns TEXT NOT NULL, bytes INTEGER NOT NULL,
    visited REAL NOT NULL)"""
#: What version 2 has added: a name that the visitor gave, when something was last said, when it was deleted.
_ADDED = {"name": "TEXT", "changed": "REAL", "deleted": "REAL"}


class Entry(NamedTuple):
    """A conversation in a visitor's list. ``changed`` = when something was last said, in seconds since 1970."""

    identity: str
    title: str
    changed: float


class StorageError(OSError):
    """The database cannot be read or written: one sentence."""


class Storage:
    """Conversations in ``folder``. ``in_use`` says which conversations must stay.

    Any thread may call it; each method is one transaction.
    """

    def __init__(self, folder: Path, in_use: Callable[[], Collection[str]] = tuple) -> None:
        self.file, self.media = folder / "conversations.sqlite", folder / "media" / "conversations"
        self.in_use = in_use
        self._lock, self._removed = threading.RLock(), set[str]()
        self.media.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(self.file, check_same_thread=False, isolation_level=None)
            [version] = self._database.execute("PRAGMA user_version").fetchone()
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            if version in (0, 1):
                self._database.execute(_TABLE)
                for name, kind in _ADDED.items():
                    self._database.execute(f"ALTER TABLE conversations ADD COLUMN {name} {kind}")
                self._database.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            raise StorageError(f"{self.file} is no database of conversations: {error}; move it away") from error
        if version > VERSION:
            raise StorageError(f"{self.file} has version {version}: this program reads up to {VERSION}")
        self._clean()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def folder_of(self, identity: str, visitor: str) -> Path:
        """The folder of a conversation's media, which is made when it is first asked for."""
        folder = self.media / identity
        if identity in self._removed:
            raise FileNotFoundError(folder)
        if not folder.is_dir():
            self._execute(
                "INSERT OR IGNORE INTO conversations (identity, visitor, turns, bytes, visited)"
                " VALUES (?, ?, '[]', ?, ?)",
                (identity, visitor, BLOCK, time.time()),
            )
            folder.mkdir(exist_ok=True)
        return folder

    def knows(self, visitor: str) -> bool:
        """Whether anything of a visitor is kept."""
        return bool(self._execute("SELECT 1 FROM conversations WHERE visitor = ? LIMIT 1", (visitor,)))

    def entries(self, visitor: str) -> list[Entry]:
        """A visitor's conversations that hold something, in the order in which they were begun."""
        rows = self._execute(
            "SELECT identity, coalesce(name, title), coalesce(changed, visited) FROM conversations"
            " WHERE visitor = ? AND title IS NOT NULL AND deleted IS NULL ORDER BY rowid",
            (visitor,),
        )
        return [Entry(*row) for row in rows]

    def titles(self, visitor: str) -> dict[str, str]:
        """Titles of :meth:`entries` by identity."""
        return {entry.identity: entry.title for entry in self.entries(visitor)}

    def load(self, identity: str, visitor: str) -> list[dict[str, Any]] | None:
        """The turns of a conversation; None for one that is not there, or is another visitor's."""
        query = "SELECT turns FROM conversations WHERE identity = ? AND visitor = ? AND title IS NOT NULL"
        rows = self._execute(query, (identity, visitor))
        return json.loads(rows[0][0]) if rows else None

    def save(self, identity: str, visitor: str, title: str | None, turns: list[dict[str, Any]]) -> None:
        """Write a conversation; ``title`` None = it holds nothing any more. Others go if there is no room."""
        if identity in self._removed:
            return
        text, now = json.dumps(turns), time.time()
        size = len(text) + _size(self.media / identity)
        title = title and title.encode("utf-8", "replace").decode()
        self._execute(
            "INSERT INTO conversations (identity, visitor, title, turns, bytes, visited, changed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET title = excluded.title,"
            " turns = excluded.turns, bytes = excluded.bytes, visited = excluded.visited, changed = excluded.changed",
            (identity, visitor, title, text, size, now, now),
        )
        self.make_room(visitor)

    def visit(self, identity: str) -> None:
        """Note that somebody looks at a conversation."""
        self._execute("UPDATE conversations SET visited = ? WHERE identity = ?", (time.time(), identity))

    def rename(self, identity: str, visitor: str, name: str) -> None:
        """Give a visitor's conversation a name; an empty one = the beginning of its first message again."""
        query = "UPDATE conversations SET name = ? WHERE identity = ? AND visitor = ?"
        self._execute(query, (name.encode("utf-8", "replace").decode() or None, identity, visitor))

    def delete(self, identity: str, visitor: str) -> None:
        """Take a visitor's conversation out of the list; it is removed when it can no longer be restored."""
        self._mark(identity, visitor, time.time())
        self._remove_deleted(UNDO_SECONDS)

    def restore(self, identity: str, visitor: str) -> None:
        """Put a deleted conversation back; one that is gone stays so."""
        self._mark(identity, visitor, None)

    def remove(self, identity: str) -> None:
        """Remove a conversation and its media."""
        self._removed.add(identity)
        self._execute("DELETE FROM conversations WHERE identity = ?", (identity,))
        shutil.rmtree(self.media / identity, ignore_errors=True)

    def make_room(self, visitor: str, wanted: int = 0) -> None:
        """Remove what must go so that ``visitor`` can add ``wanted`` bytes. StorageError where that is not enough."""
        self._remove_deleted(UNDO_SECONDS)
        used = set(self.in_use())
        own, everybody = ("visitor = ?", (visitor,)), ("1", ())
        for (where, values), count, most in ((own, VISITOR_COUNT, VISITOR_BYTES), (everybody, None, ALL_BYTES)):
            query = f"SELECT identity, bytes FROM conversations WHERE {where} ORDER BY visited"
            rows = self._execute(query, values)
            total, number = wanted + sum(size for _, size in rows), len(rows)
            for identity, size in [row for row in rows if row[0] not in used]:
                if total <= most and number <= (count or number):
                    break
                self.remove(identity)
                total, number = total - size, number - 1
            if wanted and total > most:
                raise StorageError("there is no room for more: delete conversations that you do not need")

    def _clean(self) -> None:
        """Remove what the last process has left: deleted conversations, media without a conversation, and conversations
        without turns."""
        self._remove_deleted(0.0)
        self._execute("DELETE FROM conversations WHERE title IS NULL", ())
        known = {identity for [identity] in self._execute("SELECT identity FROM conversations", ())}
        for folder in self.media.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def _mark(self, identity: str, visitor: str, deleted: float | None) -> None:
        query = "UPDATE conversations SET deleted = ? WHERE identity = ? AND visitor = ?"
        self._execute(query, (deleted, identity, visitor))

    def _remove_deleted(self, seconds: float) -> None:
        """Remove conversations that were deleted more than so many seconds ago."""
        for [identity] in self._execute(
            "SELECT identity FROM conversations WHERE deleted <= ?", (time.time() - seconds,)
        ):
            self.remove(identity)

    def _execute(self, query: str, values: tuple) -> list[tuple]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"the conversation cannot be kept: {error}") from error


def _size(folder: Path) -> int:
    """Bytes of a conversation's files on the disk."""
    total = BLOCK
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # it is being deleted
            total += -(-path.stat().st_size // BLOCK) * BLOCK
    return total
