"""Conversations of visitors. They outlive the page, each visitor's under a key that only their browser has.

They are exported as one HTML page, or as a zip file that ``nextgpt-lite chat --conversation`` reads.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from data.modalities import MODALITIES
from demo.engine.events import Finished
from demo.page.streamed_reply import Part, StreamedReply, shown_file
from demo.texts import render, translate
from nextgpt_lite.conversation_media import attach, write_reply_medium

if TYPE_CHECKING:
    from demo.engine.engine import Engine
    from nextgpt_lite import Reply, ReplyMedium

DAY = 86_400  # seconds
#: Conversations that are kept of one visitor, and visitors that are kept; the oldest are deleted first.
MAX_CONVERSATIONS, MAX_VISITORS = 30, 200
TITLE_LENGTH = 28


@dataclass(eq=False)
class Turn:
    """A user's message and its reply. ``files`` are as the text box gave them, ``shown`` what a browser shows of them;
    ``message`` is what the model reads. ``streamed`` is the reply once it was requested with ``settings``."""

    text: str
    files: list[str]
    shown: list[Path]
    message: dict[str, Any]
    streamed: StreamedReply | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def modalities(self) -> list[str]:
        """Of the attached files."""
        return [part["type"] for part in self.message["content"] if part["type"] != "text"]

    @property
    def finished(self) -> Finished | None:
        """The end of the reply."""
        last = self.streamed.last if self.streamed else None
        return last if isinstance(last, Finished) else None

    @property
    def reply(self) -> Reply | None:
        return self.finished.reply if self.finished else None

    @property
    def reply_files(self) -> list[tuple[Path, Path]]:
        """Of each finished medium of the reply: its file, and what a browser shows of it."""
        return [card.files for _, card in sorted(self.streamed.cards.items()) if card.files] if self.streamed else []

    def bubbles(self, language: str, waiting: str) -> list[dict[str, Any]]:
        """Both sides as gr.Chatbot takes them."""
        message: list[Part] = [*map(shown_file, self.shown), *([self.text] if self.text else [])]
        reply = self.streamed.parts(language, "…" if self.reply else waiting) if self.streamed else [waiting]
        reply += [translate(language, "stopped")] if self.finished and self.finished.cancelled else []
        return [{"role": "user", "content": message}, {"role": "assistant", "content": reply}]


@dataclass(eq=False)
class Conversation:
    """Turns in order. The last one may be waiting for its reply."""

    folder: Path
    turns: list[Turn] = field(default_factory=list)
    identity: str = field(default_factory=lambda: secrets.token_hex(8))
    written: int = 0  # files so far, so that no two have one name

    @property
    def running(self) -> StreamedReply | None:
        """The reply that is being generated, if there is one."""
        streamed = self.turns[-1].streamed if self.turns else None
        return streamed if streamed and streamed.last is None else None

    def title(self, language: str) -> str:
        """The beginning of the first message that has text."""
        text = next((turn.text for turn in self.turns if turn.text), "…" if self.turns else "")
        return text[:TITLE_LENGTH] + "…" * (len(text) > TITLE_LENGTH) if text else translate(language, "new")

    def messages(self, until: int | None = None) -> list[dict[str, Any]]:
        """As the model takes them: up to the question of turn ``until``, or of the last one."""
        turns = self.turns if until is None else self.turns[: until + 1]
        earlier = [side for turn in turns[:-1] for side in (turn.message, turn.reply and turn.reply.as_message())]
        return [*filter(None, earlier), turns[-1].message]

    def bubbles(self, language: str, waiting: str) -> list[dict[str, Any]]:
        """As gr.Chatbot takes them."""
        return [bubble for turn in self.turns for bubble in turn.bubbles(language, waiting)]

    def read_message(self, text: str, files: list[str]) -> Turn:
        """A user's message as a turn, not part of the conversation yet. MediaError for a file that is refused."""
        parts, shown = [], []
        for file in files:
            self.written += 1
            part, path = attach(Path(file), self.folder, self.written)
            parts.append(part)
            shown.append(path)
        message = {"role": "user", "content": [*parts, *_text(text)]}
        return Turn(text, files, shown, message)

    def request_reply(self, turn: Turn, engine: Engine, settings: dict[str, Any]) -> StreamedReply:
        """Add a turn and have it answered. What the engine refuses is raised, and nothing has changed."""
        self.turns.append(turn)
        try:
            job = engine.submit(self.messages(), previews=True, **settings)
        except Exception:
            self.turns.pop()
            raise
        turn.settings, turn.streamed = settings, StreamedReply(job, self._save, lambda: self._drop(turn))
        return turn.streamed

    def stop(self) -> None:
        """Stop the reply that is being generated, if there is one; what is there of it stays."""
        if self.running:
            self.running.job.cancel()

    def _save(self, medium: ReplyMedium) -> tuple[Path, Path]:
        if not self.folder.is_dir():  # its visitor has expired: nobody would delete the file
            raise FileNotFoundError(self.folder)
        self.written += 1
        return save_for_browser(medium, self.folder / f"{self.written}-{medium.modality}")

    def _drop(self, turn: Turn) -> None:
        if turn in self.turns:
            self.turns.remove(turn)


def save_for_browser(medium: ReplyMedium, path: Path) -> tuple[Path, Path]:
    """Write a medium of a reply; ``path`` gets the suffix. Its file, and the file that a browser shows of it."""
    written = write_reply_medium(medium, path)
    modality = MODALITIES[medium.modality]
    if modality.shown_by_browsers:
        return written, written
    preview = written.with_suffix(".png")
    Image.fromarray(modality.preview(medium.array)).save(preview)
    return written, preview


def secret_folder(prefix: str) -> Path:
    """A new folder that the page's server serves from, under a name that nobody can guess: who knows it may read it."""
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
        """Go to a new conversation; an empty one is used again."""
        empty = [conversation for conversation in self.conversations.values() if not conversation.turns]
        self.current = empty[0] if empty else Conversation(self.folder)
        self.conversations = {**self.conversations, self.current.identity: self.current}
        while len(self.conversations) > MAX_CONVERSATIONS:
            self.forget(next(iter(self.conversations)))
        return self.current

    def forget(self, identity: str) -> None:
        """Delete a conversation and its files."""
        conversation = self.conversations.pop(identity)
        conversation.stop()
        for turn in conversation.turns:
            for path in (*turn.shown, *(file for files in turn.reply_files for file in files)):
                if path.is_relative_to(self.folder):
                    path.unlink(missing_ok=True)
        if self.current is conversation:
            self.current = next(reversed(self.conversations.values()), None) or self.begin()

    def go_to(self, identity: str) -> Conversation:
        """Go to another conversation of this visitor; an unknown identity changes nothing."""
        self.current = self.conversations.get(identity, self.current)
        return self.current

    def close(self) -> None:
        for conversation in self.conversations.values():
            conversation.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Visitors:
    """All visitors of the page, each until ``lifetime`` seconds after they were last seen."""

    def __init__(self, lifetime: float = DAY) -> None:
        self.lifetime = lifetime
        self._known: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def enter(self, identity: str | None, language: str) -> Visitor:
        """The visitor of a key, or a new one for an unknown key."""
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
            if now - visitor.seen > self.lifetime or len(self._known) > MAX_VISITORS:
                self._known.pop(identity).close()


def write_page(visitor: Visitor) -> Path:
    """The current conversation as one HTML page that holds its media and refers to no other file."""
    conversation, path, language = visitor.current, visitor.folder / "conversation.html", visitor.language
    page = render("conversation", language, title=conversation.title(language), turns=conversation.turns)
    path.write_text(page, encoding="utf-8")
    return path


def write_folder(visitor: Visitor) -> Path:
    """The current conversation as a zip file with ``conversation.json`` and the media beside it."""
    conversation, path = visitor.current, visitor.folder / "conversation.zip"
    messages: list[dict[str, Any]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, turn in enumerate(conversation.turns, 1):
            attached = zip(turn.modalities, turn.files, strict=True)
            media = _add_files(archive, f"{number}-user", attached)
            messages.append({"role": "user", "content": [*media, *_text(turn.text)]})
            if turn.reply:
                modalities, files = [each.modality for each in turn.reply.media], [file for file, _ in turn.reply_files]
                media = _add_files(archive, f"{number}-model", zip(modalities, files, strict=False))
                messages.append({"role": "assistant", "content": [*_text(turn.reply.text), *media]})
        archive.writestr("conversation.json", json.dumps({"messages": messages}, ensure_ascii=False, indent=2))
    return path


def _add_files(archive: zipfile.ZipFile, stem: str, files: Iterable[tuple[str, str | Path]]) -> list[dict[str, str]]:
    """Write (modality, file) pairs into the archive under plain names; returns their content parts."""
    parts = []
    for number, (modality, file) in enumerate(files, 1):
        name = f"{stem}-{number}{Path(file).suffix.lower()}"
        archive.write(file, name)
        parts.append({"type": modality, "path": name})
    return parts


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}] if text else []
