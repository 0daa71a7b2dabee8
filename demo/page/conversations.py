"""What visitors have said and got: conversations that outlive the page, each visitor's under a key only they know."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.page.reply_card import GrowingReply, Part
from demo.page.words import say
from nextgpt_lite.chat_files import attach, save_reply_medium

if TYPE_CHECKING:
    from demo.engine.engine import Engine
    from demo.engine.job import Failed, Finished
    from nextgpt_lite import Reply, ReplyMedium

DAY = 86_400  # seconds
#: Conversations that are kept of one visitor, visitors that are kept at all: the oldest go first.
MOST_CONVERSATIONS, MOST_VISITORS = 30, 200
TITLE_LENGTH = 28


@dataclass(eq=False)
class Turn:
    """What a user said and what came back. ``files`` are as the text box gave them, ``shown`` as a browser can show
    them; ``message`` is what the model reads. ``growing`` is there from the first asking on, ``reply`` at the end."""

    text: str
    files: list[str]
    shown: list[Path]
    message: dict[str, Any]
    growing: GrowingReply | None = None
    reply: Reply | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    stopped: bool = False

    @property
    def reply_files(self) -> list[Path]:
        """The media of the reply that are done."""
        cards = self.growing.cards if self.growing else {}
        return [card.path for _, card in sorted(cards.items()) if card.path]

    def bubbles(self, language: str, waiting: str) -> list[dict[str, Any]]:
        """Both sides as gr.Chatbot takes them."""
        asked: list[Part] = [{"path": str(path), "alt_text": path.stem.replace("-", " ")} for path in self.shown]
        asked += [self.text] if self.text else []
        answered = self.growing.parts(language, "…" if self.reply else waiting) if self.growing else [waiting]
        answered += [say(language, "stopped")] if self.stopped else []
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


@dataclass(eq=False)
class Conversation:
    """Turns in order. The last one may be waiting for its reply."""

    folder: Path
    turns: list[Turn] = field(default_factory=list)
    identity: str = field(default_factory=lambda: secrets.token_hex(8))
    written: int = 0  # files so far, so that no two have one name

    @property
    def running(self) -> GrowingReply | None:
        """The reply that is being made, if there is one."""
        growing = self.turns[-1].growing if self.turns else None
        return growing if growing and growing.last is None else None

    def title(self, language: str) -> str:
        """The first words said, cut to a length."""
        words = next((turn.text for turn in self.turns if turn.text), "…" if self.turns else "")
        return words[:TITLE_LENGTH] + "…" * (len(words) > TITLE_LENGTH) if words else say(language, "untitled")

    def messages(self, until: int | None = None) -> list[dict[str, Any]]:
        """As the model takes them: of the turns before ``until`` all, and its question."""
        turns = self.turns if until is None else self.turns[: until + 1]
        said = [side for turn in turns[:-1] for side in (turn.message, turn.reply and turn.reply.as_message()) if side]
        return [*said, turns[-1].message]

    def bubbles(self, language: str, waiting: str) -> list[dict[str, Any]]:
        """As gr.Chatbot takes them."""
        return [bubble for turn in self.turns for bubble in turn.bubbles(language, waiting)]

    def take_in(self, text: str, files: list[str]) -> Turn:
        """A user's message as a turn, not part of the conversation yet. MediaError for a file that is refused."""
        parts, shown = [], []
        for file in files:
            self.written += 1
            part, path = attach(Path(file), self.folder, self.written)
            parts.append(part)
            shown.append(path)
        message = {"role": "user", "content": [*parts, *([{"type": "text", "text": text}] if text else [])]}
        return Turn(text, files, shown, message)

    def ask(self, turn: Turn, engine: Engine, settings: dict[str, Any]) -> GrowingReply:
        """Add a turn and have it answered. What the engine refuses is raised, and nothing has changed."""
        self.turns.append(turn)
        try:
            job = engine.submit(self.messages(), previews=True, **settings)
        except Exception:
            self.turns.pop()
            raise
        turn.reply, turn.stopped, turn.settings = None, False, settings
        turn.growing = GrowingReply(job, lambda index, medium: self._keep(medium), lambda event: self._end(turn, event))
        return turn.growing

    def stop(self) -> None:
        """Stop the reply that is being made, if there is one; what is there of it stays."""
        if self.running:
            self.running.job.cancel()

    def _keep(self, medium: ReplyMedium) -> Path:
        self.written += 1
        return save_reply_medium(medium, self.folder / f"{self.written}-{medium.modality}")

    def _end(self, turn: Turn, event: Finished | Failed) -> None:
        from demo.engine.job import Finished  # not at the top, see demo.page.reply_card

        if isinstance(event, Finished):
            turn.reply, turn.timings, turn.stopped = event.reply, event.timings, event.cancelled
        elif turn in self.turns:
            self.turns.remove(turn)


def secret_folder(prefix: str) -> Path:
    """A new folder in what the page's server serves from, whose name nobody can guess: who knows it may read it."""
    folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()) / f"{prefix}-{secrets.token_hex(16)}"
    folder.mkdir(parents=True)
    return folder


class Visitor:
    """One browser: its conversations, the language of its page, the folder of its files."""

    def __init__(self, language: str) -> None:
        self.identity, self.language = secrets.token_hex(16), language
        self.folder = secret_folder("visitor")
        self.conversations: dict[str, Conversation] = {}
        self.seen = time.monotonic()
        self.current = self.begin()

    def begin(self) -> Conversation:
        """Go to a new conversation; one that is empty is used again."""
        empty = [conversation for conversation in self.conversations.values() if not conversation.turns]
        self.current = empty[0] if empty else Conversation(self.folder)
        self.conversations = {**self.conversations, self.current.identity: self.current}
        while len(self.conversations) > MOST_CONVERSATIONS:
            self.forget(next(iter(self.conversations)))
        return self.current

    def forget(self, identity: str) -> None:
        """Delete a conversation and its files."""
        conversation = self.conversations.pop(identity)
        conversation.stop()
        for path in (file for turn in conversation.turns for file in [*turn.shown, *turn.reply_files]):
            if path.is_relative_to(self.folder):
                path.unlink(missing_ok=True)
        if self.current is conversation:
            self.current = next(reversed(self.conversations.values()), None) or self.begin()

    def go_to(self, identity: str) -> Conversation:
        """Go to another conversation of this visitor; one that is gone is not gone to."""
        self.current = self.conversations.get(identity, self.current)
        return self.current

    def close(self) -> None:
        for conversation in self.conversations.values():
            conversation.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Visitors:
    """All visitors of the page, each until ``lifetime`` seconds have passed without a sign of them."""

    def __init__(self, lifetime: float = DAY) -> None:
        self.lifetime = lifetime
        self._known: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def enter(self, identity: str | None, language: str) -> Visitor:
        """The visitor of a key, or a new one where nobody has it."""
        with self._lock:
            self._expire()
            visitor = self._known.pop(identity or "", None) or Visitor(language)
            self._known[visitor.identity] = visitor  # the last seen comes last
            visitor.seen = time.monotonic()
            return visitor

    def close(self) -> None:
        """Forget everybody and remove their files."""
        with self._lock:
            for visitor in self._known.values():
                visitor.close()
            self._known.clear()

    def _expire(self) -> None:
        now = time.monotonic()
        for identity, visitor in list(self._known.items()):
            if now - visitor.seen > self.lifetime or len(self._known) > MOST_VISITORS:
                self._known.pop(identity).close()
