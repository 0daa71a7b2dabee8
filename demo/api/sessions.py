"""Sessions and their files: what a client uploads and gets is visible to nobody else and expires.

A session is identified by the bearer token, the client's address and the header X-Session. Ids are random, and a file
is found in its own session only.
"""

import hashlib
import hmac
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request

from data.atomic import atomic_file
from demo.api.errors import ApiError
from demo.data_urls import mime_type
from demo.serving.guard import sent_key


class StoredFile(BaseModel):
    """OpenAI's file object, with the modality and the MIME type of a file of a session."""

    path: Path = Field(exclude=True)
    id: str
    filename: str
    purpose: str
    modality: str
    mime_type: str
    bytes: int
    created_at: int  # seconds since 1970
    expires_at: int
    object: str = "file"
    status: str = "processed"


@dataclass(eq=False)
class Session:
    """One client's files, oldest first, and videos. ``used`` is when it was last used, in monotonic seconds."""

    folder: Path
    files: dict[str, StoredFile] = field(default_factory=dict)
    videos: dict[str, Any] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(stored.bytes for stored in self.files.values())

    def find(self, name: str) -> StoredFile:
        """A file of the session. ApiError 404 for any other, another session's too."""
        if name not in self.files:
            sentence = f"this session has no file {name!r}: it was deleted, has expired, or never existed"
            raise ApiError(404, sentence, "not_found")
        return self.files[name]

    def remove(self, name: str) -> None:
        """Delete a file of the session."""
        self.find(name).path.unlink(missing_ok=True)
        del self.files[name]


class Sessions:
    """All sessions, in a folder of their own that is deleted with them.

    Args:
        minutes: how long a session's files stay after it was last used.
        session_bytes: the most that a session's files have together; its oldest are deleted when there are more.
        all_bytes: the most of all sessions together; beyond it files are refused.
        folder: where the folder of the sessions is made; the system's for temporary files unless given.
    """

    def __init__(
        self, minutes: float = 60.0, session_bytes: int = 2**28, all_bytes: int = 2**31, folder: Path | None = None
    ) -> None:
        self.seconds, self.session_bytes, self.all_bytes = 60 * minutes, session_bytes, all_bytes
        self.folder = Path(tempfile.mkdtemp(prefix="sessions-", dir=folder))
        self._sessions: dict[str, Session] = {}
        self._secret = secrets.token_bytes(32)

    def of(self, request: Request) -> Session:
        """The session of a client, a new one at its first request."""
        address = request.client.host if request.client else ""
        identity = "\0".join((sent_key(request.headers), address, request.headers.get("x-session", "")))
        name = hashlib.sha256(identity.encode()).hexdigest()
        session = self._sessions.get(name)
        if session is None or self._expired(session):
            self._remove(name)
            session = self._sessions[name] = Session(self.folder / secrets.token_hex(16))
        session.used = time.monotonic()
        return session

    def add(
        self, session: Session, content: bytes, filename: str, purpose: str, modality: str = "unknown"
    ) -> StoredFile:
        """Store a file. ApiError 503 when the server's space is used up, 413 when the file alone is too large."""
        if len(content) > self.session_bytes:
            raise ApiError(413, f"a session holds at most {self.session_bytes / 2**20:g} MiB", "too_large")
        while session.files and session.bytes + len(content) > self.session_bytes:
            session.remove(next(iter(session.files)))
        if sum(each.bytes for each in self._sessions.values()) + len(content) > self.all_bytes:
            raise ApiError(503, "the server has no space for more files: try again later", "no_room")
        name, now = f"file-{secrets.token_urlsafe(24)}", int(time.time())
        path = session.folder / f"{name}{Path(filename).suffix.lower()}"
        with atomic_file(path) as temporary:  # a full disk leaves nothing
            temporary.write_bytes(content)
        session.files[name] = StoredFile(
            path=path, id=name, filename=filename, purpose=purpose, modality=modality, mime_type=mime_type(path),
            bytes=len(content), created_at=now, expires_at=now + int(self.seconds),
        )  # fmt: skip
        return session.files[name]

    def sign(self, name: str) -> str:
        """A signature that opens the file ``name`` to whoever has it, as long as there is the file."""
        return hmac.new(self._secret, name.encode(errors="replace"), "sha256").hexdigest()

    def is_signed(self, name: str, signature: str | None) -> bool:
        """Whether a signature is that of a file."""
        return hmac.compare_digest(self.sign(name).encode(), (signature or "").encode(errors="replace"))

    def find(self, session: Session, name: str, signature: str | None = None) -> StoredFile:
        """A file of the session, or with its signature one of any. ApiError 404 for others."""
        if self.is_signed(name, signature):
            session = next((each for each in list(self._sessions.values()) if name in each.files), session)
        return session.find(name)

    @property
    def count(self) -> int:
        """Number of sessions."""
        return len(self._sessions)

    def sweep(self) -> None:
        """Delete the sessions that have expired."""
        for name in [name for name, session in self._sessions.items() if self._expired(session)]:
            self._remove(name)

    def close(self) -> None:
        """Delete all sessions and their folder."""
        for name in list(self._sessions):
            self._remove(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _expired(self, session: Session) -> bool:
        return time.monotonic() - session.used > self.seconds

    def _remove(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session:
            for video in session.videos.values():
                video.cancel()
            shutil.rmtree(session.folder, ignore_errors=True)
