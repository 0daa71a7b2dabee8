"""Visitors: browsers that are known by a key, each with pages that are open, each page with its own conversation."""

from __future__ import annotations

import re
import secrets
import threading
import time
from pathlib import Path
from weakref import WeakSet, WeakValueDictionary

from demo.page.conversations import TITLE_LENGTH, Conversation
from demo.page.storage import Entry, Storage

_KEY = re.compile("[0-9a-f]{32}")
#: How long a page counts as open before its browser has connected, in seconds.
CONNECTING_SECONDS = 60.0


class Visitor:
    """One page that a browser has opened: whose it is, its language, the conversation that it shows."""

    def __init__(self, visitors: Visitors, identity: str, language: str, session: str = "") -> None:
        self.visitors, self.identity, self.language, self.session = visitors, identity, language, session
        self.entered = time.monotonic()
        self.deleted = ""  # the conversation that was deleted last, as long as it is offered to take that back
        self.current = visitors.open(identity)

    @property
    def is_open(self) -> bool:
        """Whether the page is open in a browser."""
        just_entered = time.monotonic() - self.entered < CONNECTING_SECONDS
        return just_entered or self.session in self.visitors.connected

    @property
    def conversations(self) -> list[Entry]:
        """The browser's conversations that hold something, the one in which something was said last first."""
        entries = self.visitors.storage.entries(self.identity)
        return sorted(entries, key=lambda entry: -entry.changed)

    def begin(self) -> Conversation:
        """Go to a new conversation; one that holds nothing is used again."""
        self.deleted = ""
        if self.current.turns:
            self.current = self.visitors.open(self.identity)
        return self.current

    def go_to(self, identity: str) -> Conversation:
        """Go to another conversation of this browser; an unknown identity changes nothing."""
        if identity in self.visitors.storage.titles(self.identity):
            self.current, self.deleted = self.visitors.open(self.identity, identity), ""
        return self.current

    def find(self, identity: str) -> Conversation:
        """A conversation of this browser; the current one for an unknown identity."""
        known = identity in self.visitors.storage.titles(self.identity)
        return self.visitors.open(self.identity, identity) if known else self.current

    def rename(self, identity: str, name: str) -> None:
        """Give a conversation of this browser a name, or with an empty one its own title again."""
        self.visitors.storage.rename(identity, self.identity, " ".join(name.split())[:TITLE_LENGTH])

    def forget(self, identity: str) -> None:
        """Delete a conversation of this browser; if it is the current one, go to a new one."""
        if identity not in self.visitors.storage.titles(self.identity):
            return
        self.visitors.open(self.identity, identity).delete()
        self.deleted = identity
        if self.current.identity == identity:
            self.current = self.visitors.open(self.identity)

    def restore(self) -> None:
        """Take back the last deletion, and go to what is restored."""
        if self.deleted:
            self.visitors.storage.restore(self.deleted, self.identity)
            self.go_to(self.deleted)
        self.deleted = ""

    def go_to_latest(self) -> None:
        """Go to the latest conversation that holds something, if there is one."""
        self.go_to(next(reversed(self.visitors.storage.titles(self.identity)), ""))


class Visitors:
    """All visitors. ``connected`` are the sessions of pages that are open in a browser."""

    def __init__(self, folder: Path) -> None:
        self.connected: set[str] = set()
        self._pages: WeakSet[Visitor] = WeakSet()
        self._conversations: WeakValueDictionary[str, Conversation] = WeakValueDictionary()
        self._lock = threading.RLock()
        self.storage = Storage(folder, self.in_use)

    def enter(self, identity: object, language: str, conversation: object = None, session: str = "") -> Visitor:
        """A page is opened. An unknown key becomes a new one.

        It shows the ``conversation`` that it showed before a reload; a new page the latest one if no other page of
        this browser is open, so that two pages are two conversations.
        """
        with self._lock:
            pages = [page for page in self._pages if page.identity == identity]
            well_formed = isinstance(identity, str) and _KEY.fullmatch(identity)
            known = well_formed and (pages or self.storage.knows(str(identity)))
            visitor = Visitor(self, str(identity) if known else secrets.token_hex(16), language, session)
            if conversation:
                visitor.go_to(str(conversation))
            elif not any(page.is_open for page in pages):
                visitor.go_to_latest()
            self._pages.add(visitor)
            return visitor

    def open(self, visitor: str, identity: str = "") -> Conversation:
        """A conversation of a visitor, the same object for all pages that show it; a new one without ``identity``."""
        with self._lock:
            conversation = self._conversations.get(identity)
            if conversation is None:
                conversation = Conversation(self.storage, visitor, identity)
                self._conversations[conversation.identity] = conversation
        if identity:
            self.storage.visit(identity)
        return conversation

    def in_use(self) -> set[str]:
        """Conversations that a page shows, or whose reply is being generated."""
        with self._lock:
            shown = {page.current.identity for page in self._pages if page.is_open}
            return shown | {each.identity for each in self._conversations.values() if each.running}

    def close(self, seconds: float = 5.0) -> None:
        """Stop all replies, and wait some ``seconds`` until what is there of them is kept."""
        replies = [each.running for each in list(self._conversations.values()) if each.running]
        for reply in replies:
            reply.job.cancel()
        for reply in replies:
            reply.thread.join(seconds)
        self.storage.close()
