"""Conversations of visitors: turns in order, kept in a :class:`demo.page.storage.Storage` at every change."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.engine.events import Failed, Finished
from demo.page.storage import Storage
from demo.page.streamed_reply import StreamedReply
from demo.page.turns import Turn, read_message, save_for_browser

if TYPE_CHECKING:
    from demo.engine.engine import Engine
    from nextgpt_lite import ReplyMedium

#: Characters of a title.
TITLE_LENGTH = 60
#: The most files of one message.
MAX_FILES = 16


class Conversation:
    """Turns in order. The last one may be waiting for its reply."""

    def __init__(self, storage: Storage, visitor: str, identity: str = "") -> None:
        """A new conversation of a visitor, or the one that is kept under ``identity``."""
        self.storage, self.visitor, self.identity = storage, visitor, identity or secrets.token_hex(16)
        self.place = storage.media / self.identity
        records = storage.load(identity, visitor) if identity else None
        self.turns = [Turn.from_record(record, self.place) for record in records or []]
        names = [path.name.partition("-")[0] for path in self.place.iterdir()] if self.place.is_dir() else []
        self.written = max([int(name) for name in names if name.isdecimal()], default=0)  # the last number of a file

    @property
    def folder(self) -> Path:
        """The folder of its media. Who knows its name may read them: it is as secret as a key."""
        return self.storage.folder_of(self.identity, self.visitor)

    @property
    def running(self) -> StreamedReply | None:
        """The reply that is being generated, if there is one."""
        streamed = self.turns[-1].streamed if self.turns else None
        return streamed if streamed and streamed.last is None else None

    @property
    def title(self) -> str | None:
        """The beginning of the first message that has text; None while there is no message."""
        text = next((turn.text for turn in self.turns if turn.text), "…" if self.turns else "")
        return text[:TITLE_LENGTH] + "…" * (len(text) > TITLE_LENGTH) if text else None

    def messages(self, until: int | None = None) -> list[dict[str, Any]]:
        """As the model takes them: up to the question of turn ``until``, or of the last one."""
        turns = self.turns if until is None else self.turns[: until + 1]
        earlier = [side for turn in turns[:-1] for side in (turn.message, turn.reply and turn.reply.as_message())]
        return [*filter(None, earlier), turns[-1].message]

    def read_message(self, text: str, files: list[str]) -> Turn:
        """A user's message as a turn, not part of the conversation yet. MediaError for a file that is refused."""
        if len(files) > MAX_FILES:
            raise ValueError(f"{len(files)} files: at most {MAX_FILES} are read at a time")
        if files:
            self.storage.make_room(self.visitor, sum(Path(file).stat().st_size for file in files))
        first = self.written + 1
        self.written += len(files)
        return read_message(text, files, self.folder if files else self.place, first)

    def request_reply(self, turn: Turn, engine: Engine, settings: dict[str, Any]) -> StreamedReply:
        """Add a turn and have it answered. What the engine refuses is raised, and nothing has changed."""
        self.turns.append(turn)
        try:
            job = engine.submit(self.messages(), previews=True, **settings)
        except Exception:
            self.turns.pop()
            raise
        turn.settings, turn.kept = settings, None
        turn.__dict__.pop("reply", None)
        try:
            self._keep()
            self._remove_unused()
        finally:
            turn.streamed = StreamedReply(job, self._save, lambda last, cards: self._end(turn, last, cards))
        return turn.streamed

    def stop(self) -> None:
        """Stop the reply that is being generated, if there is one; what is there of it stays."""
        if self.running:
            self.running.job.cancel()

    def delete(self) -> None:
        """Take it out of the visitor's list, with its media; for a while it can be restored."""
        self.stop()
        self.storage.delete(self.identity, self.visitor)

    def _keep(self) -> None:
        self.storage.save(self.identity, self.visitor, self.title, [turn.as_record() for turn in self.turns])

    def _remove_unused(self) -> None:
        """Delete numbered files of turns that are gone."""
        used = set().union(*(turn.names() for turn in self.turns))
        for path in self.place.glob("[0-9]*"):
            if path.name not in used:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _save(self, medium: ReplyMedium) -> tuple[Path, Path]:
        self.written += 1
        return save_for_browser(medium, self.folder / f"{self.written}-{medium.modality}")

    def _end(self, turn: Turn, last: Finished | Failed, cards: list) -> None:
        """Keep what a reply has come to; the turn of one that failed goes."""
        if isinstance(last, Finished):
            turn.finish(last, cards)
        elif turn in self.turns:
            self.turns.remove(turn)
        self._keep()
