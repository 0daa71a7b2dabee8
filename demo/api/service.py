"""What every route needs: the engine, the sessions, the reader of media; and a job that ends with its client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from data.modalities import MODALITIES
from demo.api.errors import ApiError
from demo.api.sessions import Session, Sessions, StoredFile
from demo.engine.engine import Engine
from demo.engine.events import Event, Failed, Finished
from demo.engine.job import Job
from nextgpt_lite import ReplyMedium
from nextgpt_lite.conversation_media import UploadReader, reply_medium_bytes

#: Seconds between two checks whether a client is still connected.
DISCONNECT_CHECK_SECONDS = 0.1


@dataclass(eq=False)
class Service:
    """The parts behind the routes. ``name`` is the served model's."""

    engine: Engine
    name: str = "nano"
    sessions: Sessions = field(default_factory=Sessions)
    uploads: UploadReader = field(default_factory=UploadReader)

    def check_model(self, model: str | None) -> None:
        """ApiError 404 for a model that is not the one served."""
        if model is not None and model != self.name:
            raise ApiError(404, f"there is no model {model!r} here: expected {self.name!r}", "model_not_found")

    def submit(self, messages: list[dict[str, Any]], **settings: Any) -> Job:
        """As the engine's, with ApiError 400 for settings out of range."""
        try:
            return self.engine.submit(messages, **settings)
        except ValueError as error:
            raise ApiError(400, str(error), "invalid_value") from None

    async def finished(self, job: Job, request: Request) -> Finished:
        """The job's last event. ApiError if it failed, or if the client has disconnected."""
        last = [event async for event in events(job, request)][-1]
        if isinstance(last, Finished) and not last.cancelled:
            return last
        raise failure(last)

    async def store(self, session: Session, medium: ReplyMedium) -> StoredFile:
        """A medium of a reply as a file of the session."""
        filename = medium.modality + MODALITIES[medium.modality].suffix
        content = await run_in_threadpool(reply_medium_bytes, medium)
        return self.sessions.add(session, content, filename, "output", medium.modality)

    def address(self, request: Request, stored: StoredFile) -> str:
        """Where anybody finds a file, without a key, as long as it is there."""
        return f"{request.url_for('content', name=stored.id)}?signature={self.sessions.sign(stored.id)}"

    async def read(self, path: Path, name: str, expected: str | None = None) -> dict[str, Any]:
        """A file as a content part, read in another thread. MediaError unless it holds an ``expected`` medium."""
        return await run_in_threadpool(self.uploads.read, path, name, expected)

    def close(self) -> None:
        self.engine.close()
        self.sessions.close()
        self.uploads.close()


def current_service(request: Request) -> Service:
    """The service of the application that a request came to."""
    return request.app.state.service


def current_session(request: Request) -> Session:
    """The session of who sent a request."""
    return current_service(request).sessions.of(request)


CurrentService = Annotated[Service, Depends(current_service)]
CurrentSession = Annotated[Session, Depends(current_session)]


async def events(job: Job, request: Request) -> AsyncIterator[Event]:
    """A job's events. It is cancelled when the client disconnects, or when whoever reads them stops."""
    watch = asyncio.create_task(_cancel_on_disconnect(job, request))
    try:
        async for event in job:
            yield event
    finally:
        job.cancel()
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


def failure(last: Event | None) -> ApiError:
    """The error of a job that did not finish."""
    if isinstance(last, Failed):
        return ApiError(400 if last.client_error else 500, last.sentence)
    return ApiError(499, "the request was cancelled", "cancelled")


async def _cancel_on_disconnect(job: Job, request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(DISCONNECT_CHECK_SECONDS)
    job.cancel()
