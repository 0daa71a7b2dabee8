"""What every route needs: the engine, the sessions, the door for media; and a job that ends with its client."""

from __future__ import annotations

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
from demo.api.sessions import Session, Sessions, Stored
from demo.engine.engine import Engine
from demo.engine.job import Event, Failed, Finished, Job
from nextgpt_lite import ReplyMedium
from nextgpt_lite.visitors_media import VisitorsMedia, as_file

#: How often it is looked whether a client is still there, in seconds.
LOOK = 0.1


@dataclass(eq=False)
class Service:
    """The parts behind the routes. ``name`` is the served model's."""

    engine: Engine
    name: str = "nano"
    sessions: Sessions = field(default_factory=Sessions)
    door: VisitorsMedia = field(default_factory=VisitorsMedia)

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
        """The job's last event. ApiError where it failed, or where the client has gone."""
        last: Event | None = None
        async for event in events(job, request):
            last = event
        if isinstance(last, Finished) and not last.cancelled:
            return last
        raise failure(last)

    async def store(self, session: Session, medium: ReplyMedium) -> Stored:
        """A medium of a reply as a file of the session."""
        content = await run_in_threadpool(as_file, medium)
        kind = MODALITIES[medium.modality]
        return self.sessions.add(
            session, content, kind.name + kind.suffix, kind.suffix, kind.mime, kind.name, "output"
        )

    async def read(self, path: Path, name: str, wanted: str | None = None) -> dict[str, Any]:
        """As the door's, without keeping others waiting."""
        return await run_in_threadpool(self.door.read, path, name, wanted)

    def close(self) -> None:
        self.engine.close()
        self.sessions.close()
        self.door.close()


def service(request: Request) -> Service:
    """The service of the application that a request came to."""
    return request.app.state.service


Here = Annotated[Service, Depends(service)]


async def events(job: Job, request: Request) -> AsyncIterator[Event]:
    """A job's events. It is cancelled when the client goes away, or whoever reads them stops."""
    watch = asyncio.create_task(_cancel_when_gone(job, request))
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
        return ApiError(400 if last.theirs else 500, last.sentence)
    return ApiError(499, "the request was cancelled", "cancelled")


async def _cancel_when_gone(job: Job, request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK)
    job.cancel()
