"""``/v1/videos``: a video is asked for, looked after, fetched and deleted, each by a request of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool

from demo.api.errors import ApiError
from demo.api.media import MediumRequest, ask_for, made, new_id
from demo.api.service import Here, failure
from demo.api.sessions import Session
from demo.engine.job import Finished, Job, MediumProgress, MediumStarted
from nextgpt_lite.visitors_media import as_file

router = APIRouter(prefix="/v1/videos")
#: The most videos that a session holds, those in the making included.
MAX_VIDEOS = 32


class VideoRequest(MediumRequest):
    """OpenAI's request; length and size are the model's own."""

    prompt: str = Field(min_length=1, max_length=4000)


@dataclass(eq=False)
class Video:
    """A video of a session. ``content`` are the bytes of an MP4 file once it is completed."""

    id: str
    model: str
    prompt: str
    job: Job
    created_at: int
    status: str = "queued"
    progress: int = 0
    completed_at: int | None = None
    error: dict[str, str] | None = None
    content: bytes | None = None
    shown: dict[str, str] = field(default_factory=lambda: {"seconds": "0", "size": "0x0"})
    task: asyncio.Task | None = None

    async def follow(self) -> None:
        """Take the job's events in until it ends."""
        last = None
        async for last in self.job:
            if isinstance(last, MediumStarted):
                self.status = "in_progress"
            elif isinstance(last, MediumProgress):
                self.progress = min(99, 100 * last.step // last.total)
        if isinstance(last, Finished) and not last.cancelled:
            medium = made(last)
            frames, height, width, _ = medium.array.shape
            self.content = await run_in_threadpool(as_file, medium)
            self.shown = {"seconds": f"{frames / (medium.rate or 1):g}", "size": f"{width}x{height}"}
            self.status, self.progress, self.completed_at = "completed", 100, int(time.time())
        else:
            self.status, self.error = "failed", {"code": "failed", "message": str(failure(last))}

    def as_object(self) -> dict[str, Any]:
        """OpenAI's video object."""
        names = ("id", "model", "prompt", "created_at", "status", "progress", "completed_at", "error")
        own = {name: getattr(self, name) for name in names}
        return {"object": "video", "expires_at": None, "remixed_from_video_id": None} | own | self.shown


@router.post("")
async def create(request: Request, here: Here) -> dict[str, Any]:
    body = await _body(request)
    session = here.sessions.of(request)
    if len(session.videos) >= MAX_VIDEOS:
        raise ApiError(429, f"a session holds at most {MAX_VIDEOS} videos: delete some", "too_many_videos")
    job = ask_for("video", body.prompt, here, body)
    video = Video(new_id("video"), here.name, body.prompt, job, int(time.time()))
    session.videos[video.id] = video
    video.task = asyncio.create_task(video.follow())
    return video.as_object()


async def _body(request: Request) -> VideoRequest:
    """OpenAI's client sends a form, others JSON."""
    try:
        if "json" in request.headers.get("content-type", ""):
            values: Any = await request.json()
        else:
            values = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        return VideoRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ApiError(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


@router.get("")
async def list_videos(request: Request, here: Here) -> dict[str, Any]:
    videos = [video.as_object() for video in here.sessions.of(request).videos.values()]
    return {"object": "list", "data": videos, "has_more": False}


@router.get("/{name}")
async def show(name: str, request: Request, here: Here) -> dict[str, Any]:
    return _find(here.sessions.of(request), name).as_object()


@router.get("/{name}/content")
async def video_content(name: str, request: Request, here: Here) -> Response:
    video = _find(here.sessions.of(request), name)
    if video.content is None:
        raise ApiError(409, f"the video is not there: its status is {video.status!r}", "not_ready")
    return Response(video.content, media_type="video/mp4")


@router.delete("/{name}")
async def delete(name: str, request: Request, here: Here) -> dict[str, Any]:
    """Forget a video; one in the making is stopped."""
    session = here.sessions.of(request)
    video = _find(session, name)
    video.job.cancel()
    with contextlib.suppress(KeyError):
        del session.videos[name]
    return {"id": name, "object": "video.deleted", "deleted": True}


def _find(session: Session, name: str) -> Video:
    if name not in session.videos:
        raise ApiError(404, f"this session has no video {name!r}", "not_found")
    return session.videos[name]
