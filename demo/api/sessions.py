"""Sessions and their files: what a client brings and gets is seen by nobody else and does not stay.

A session is who asks: the bearer token, the address that it comes from, and whatever the client sends as X-Session. Ids
are random, and a file is found in its own session only.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.requests import Request

from demo.api.errors import ApiError
from demo.api.guards import bearer


@dataclass(frozen=True)
class Stored:
    """A file of a session. Times are seconds since 1970."""

    id: str
    path: Path
    filename: str
    mime_type: str
    modality: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int

    def as_object(self) -> dict[str, Any]:
        """OpenAI's file object, and the modality."""
        names = ("id", "bytes", "created_at", "expires_at", "filename", "purpose", "modality", "mime_type")
        return {"object": "file", "status": "processed"} | {name: getattr(self, name) for name in names}


@dataclass(eq=False)
class Session:
    """One client's files, oldest first, and videos. ``used`` is monotonic seconds."""

    folder: Path
    files: dict[str, Stored] = field(default_factory=dict)
    videos: dict[str, Any] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)


class Sessions:
    """All sessions, in a folder of their own that goes with them.

    Args:
        minutes: how long a session's files stay after it was last used.
        session_bytes: the most that a session's files have together; its oldest go when there are more.
        all_bytes: the most of all sessions together; then nothing more is taken.
    """

    def __init__(self, minutes: float = 60.0, session_bytes: int = 2**28, all_bytes: int = 2**31) -> None:
        self.seconds, self.session_bytes, self.all_bytes = 60 * minutes, session_bytes, all_bytes
        self.folder = Path(tempfile.mkdtemp(prefix="nextgpt-lite-serve-"))
        self._sessions: dict[str, Session] = {}

    def of(self, request: Request) -> Session:
        """The session of who asks, made when it is new."""
        address = request.client.host if request.client else ""
        who = "\0".join((bearer(request.headers), address, request.headers.get("x-session", "")))
        name = hashlib.sha256(who.encode()).hexdigest()
        session = self._sessions.get(name)
        if session is None or self._expired(session):
            self._remove(name)
            session = self._sessions[name] = Session(self.folder / secrets.token_hex(16))
        session.used = time.monotonic()
        return session

    def add(self, session: Session, content: bytes, filename: str, suffix: str, mime_type: str, modality: str,
            purpose: str) -> Stored:  # fmt: skip
        """Store a file. ApiError 503 when the server's room is used up, 413 when it alone is too large."""
        if len(content) > self.session_bytes:
            raise ApiError(413, f"a session holds at most {self.session_bytes / 2**20:g} MiB", "too_large")
        while session.files and _bytes(session) + len(content) > self.session_bytes:
            self.remove(session, next(iter(session.files)))
        if sum(map(_bytes, self._sessions.values())) + len(content) > self.all_bytes:
            raise ApiError(503, "the server has no room for more files: try again later", "no_room")
        name = f"file-{secrets.token_urlsafe(24)}"
        path = session.folder / f"{name}{suffix}"
        session.folder.mkdir(exist_ok=True)
        path.write_bytes(content)
        now = int(time.time())
        stored = Stored(name, path, filename, mime_type, modality, purpose, len(content), now, now + int(self.seconds))
        session.files[name] = stored
        return stored

    def identify(self, session: Session, name: str, modality: str) -> Stored:
        """Note what a file turned out to hold."""
        session.files[name] = replace(self.find(session, name), modality=modality)
        return session.files[name]

    def find(self, session: Session, name: str) -> Stored:
        """A file of the session. ApiError 404 for any other, whoever's it is."""
        if name not in session.files:
            raise ApiError(
                404, f"this session has no file {name!r}: it was deleted, has expired, or never was", "not_found"
            )
        return session.files[name]

    def remove(self, session: Session, name: str) -> None:
        """Delete a file of the session."""
        self.find(session, name).path.unlink(missing_ok=True)
        del session.files[name]

    @property
    def count(self) -> int:
        """Sessions at present."""
        return len(self._sessions)

    def sweep(self) -> int:
        """Forget the sessions that have expired; says how many."""
        old = [name for name, session in self._sessions.items() if self._expired(session)]
        for name in old:
            self._remove(name)
        return len(old)

    def close(self) -> None:
        """Forget all sessions and remove the folder."""
        for name in list(self._sessions):
            self._remove(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _expired(self, session: Session) -> bool:
        return time.monotonic() - session.used > self.seconds

    def _remove(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session:
            for video in session.videos.values():
                video.job.cancel()
            shutil.rmtree(session.folder, ignore_errors=True)


def _bytes(session: Session) -> int:
    return sum(stored.bytes for stored in session.files.values())
