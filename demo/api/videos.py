"""``/v1/videos``: create a video, poll its status, download and delete it."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from starlette.concurrency import run_in_threadpool

from demo.api.errors import ApiError, first_problem
from demo.api.media import MediumRequest, submit_medium
from demo.api.service import CurrentService, CurrentSession, failure
from demo.api.sessions import Session
from demo.engine.events import Finished, MediumProgress, MediumStarted
from demo.engine.job import Job
from nextgpt_lite.conversation_media import reply_medium_bytes

router = APIRouter(prefix="/v1/videos")
#: The most videos that a session holds, unfinished ones included.
MAX_VIDEOS = 32


class VideoRequest(MediumRequest):
    """OpenAI's request; length and size are the model's own."""

    prompt: str = Field(min_length=1, max_length=4000)


class Video(BaseModel):
    """OpenAI's video object, which follows the job that generates it."""

    id: str = Field(default_factory=lambda: f"video_{secrets.token_urlsafe(24)}")
    object: Literal["video"] = "video"
    model: str
    prompt: str
    created_at: int = Field(default_factory=lambda: int(time.time()))
    status: str = "queued"
    progress: int = 0
    completed_at: int | None = None
    expires_at: int | None = None
    remixed_from_video_id: str | None = None
    error: dict[str, str] | None = None
    seconds: str = "0"
    size: str = "0x0"
    _content: bytes | None = PrivateAttr(None)
    _job: Job = PrivateAttr()
    _task: asyncio.Task = PrivateAttr()

    def follow(self, job: Job) -> None:
        """Follow the job's events until it ends, in the background."""
        self._job, self._task = job, asyncio.create_task(self._follow(job))

    def cancel(self) -> None:
        self._job.cancel()

    @property
    def content(self) -> bytes | None:
        """An MP4 file once the video is completed."""
        return self._content

    async def _follow(self, job: Job) -> None:
        last = None
        async for last in job:
            if isinstance(last, MediumStarted):
                self.status = "in_progress"
            elif isinstance(last, MediumProgress):
                self.progress = min(99, 100 * last.step // last.total)
        if not isinstance(last, Finished) or last.cancelled:
            self.status, self.error = "failed", {"code": "failed", "message": str(failure(last))}
            return
        medium = last.reply.media[0]
        frames, height, width, _ = medium.array.shape
        self._content = await run_in_threadpool(reply_medium_bytes, medium)
        self.seconds, self.size = f"{frames / (medium.rate or 1):g}", f"{width}x{height}"
        self.status, self.progress, self.completed_at = "completed", 100, int(time.time())


@router.post("")
async def create(request: Request, session: CurrentSession, service: CurrentService) -> Video:
    body = await _body(request)
    if len(session.videos) >= MAX_VIDEOS:
        raise ApiError(429, f"a session holds at most {MAX_VIDEOS} videos: delete some", "too_many_videos")
    video = Video(model=service.name, prompt=body.prompt)
    video.follow(submit_medium("video", body.prompt, service, body))
    session.videos[video.id] = video
    return video


async def _body(request: Request) -> VideoRequest:
    """The request from a form, which OpenAI's client sends, or from JSON."""
    try:
        if "json" in request.headers.get("content-type", ""):
            values: Any = await request.json()
        else:
            values = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        return VideoRequest.model_validate(values)
    except ValidationError as error:
        raise ApiError(400, first_problem(error)) from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


@router.get("")
async def list_videos(session: CurrentSession) -> dict[str, Any]:
    return {"object": "list", "data": [*session.videos.values()], "has_more": False}


@router.get("/{name}")
async def show(name: str, session: CurrentSession) -> Video:
    return _find(session, name)


@router.get("/{name}/content")
async def video_content(name: str, session: CurrentSession) -> Response:
    video = _find(session, name)
    if video.content is None:
        raise ApiError(409, f"the video is not finished: its status is {video.status!r}", "not_ready")
    return Response(video.content, media_type="video/mp4")


@router.delete("/{name}")
async def delete(name: str, session: CurrentSession) -> dict[str, Any]:
    """Delete a video; an unfinished one is stopped."""
    _find(session, name).cancel()
    session.videos.pop(name, None)
    return {"id": name, "object": "video.deleted", "deleted": True}


def _find(session: Session, name: str) -> Video:
    if name not in session.videos:
        raise ApiError(404, f"this session has no video {name!r}", "not_found")
    return session.videos[name]
