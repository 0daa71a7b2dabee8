"""``/v1/images/generations``, ``/v1/audio/speech`` and ``/v1/videos``: one medium for a description.

Images and audio are answered at once; a video is created, its status polled, and its content downloaded.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from starlette.concurrency import run_in_threadpool

from demo.api.audio_formats import AUDIO_FORMATS, encode_audio
from demo.api.errors import ApiError, first_problem
from demo.api.parameters import ApiRequest
from demo.api.service import CurrentService, CurrentSession, Service, failure
from demo.api.sessions import Session
from demo.engine.events import Finished, MediumProgress, MediumStarted
from demo.engine.job import Job
from demo.texts import request_for
from nextgpt_lite import AnyToAny
from nextgpt_lite.conversation_media import reply_medium_bytes

router = APIRouter()
#: The most videos that a session holds, unfinished ones included.
MAX_VIDEOS = 32
AUDIO_CONTENT: dict[str, Any] = {each.mime: {} for each in AUDIO_FORMATS.values()}


class MediumRequest(ApiRequest):
    """What the routes that generate one medium have in common; seed, steps and guidance are beyond OpenAI's."""

    route = "videos"
    prompt: str = Field(min_length=1, max_length=4000)
    model: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None


class ImageRequest(MediumRequest):
    route = "images/generations"
    n: int | None = Field(default=None, ge=1, le=8)
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None


class SpeechRequest(MediumRequest):
    route = "audio/speech"
    prompt: str = Field(min_length=1, max_length=4000, alias="input")
    voice: Any = None  # there is none to choose from
    response_format: Literal["wav", "flac", "mp3", "opus", "aac", "pcm"] | None = None


def submit_medium(modality: str, body: MediumRequest, service: Service, number: int = 0) -> Job:
    """A job whose reply holds a medium of ``modality`` of what is described, even if the model asks for none."""
    service.check_model(body.model)
    return service.submit(
        [{"role": "user", "content": request_for(modality, body.prompt)}],
        seed=(body.seed or 0) + number, steps=body.steps, guidance=body.guidance,
        allowed_media=[modality], required_modality=modality,
    )  # fmt: skip


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
    content: bytes | None = Field(default=None, exclude=True)  # an MP4 file once it is completed
    _job: Job = PrivateAttr()
    _task: asyncio.Task = PrivateAttr()

    def follow(self, job: Job) -> None:
        """Follow the job's events until it ends, in the background."""
        self._job, self._task = job, asyncio.create_task(self._follow())

    def cancel(self) -> None:
        self._job.cancel()

    async def _follow(self) -> None:
        last = None
        async for last in self._job:
            if isinstance(last, MediumStarted):
                self.status = "in_progress"
            elif isinstance(last, MediumProgress):
                self.progress = min(99, 100 * last.step // last.total)
        if not isinstance(last, Finished) or last.cancelled:
            self.status, self.error = "failed", {"code": "failed", "message": str(failure(last))}
            return
        medium = last.reply.media[0]
        frames, height, width, _ = medium.array.shape
        self.content = await run_in_threadpool(reply_medium_bytes, medium)
        self.seconds, self.size = f"{frames / (medium.rate or 1):g}", f"{width}x{height}"
        self.status, self.progress, self.completed_at = "completed", 100, int(time.time())


@router.post("/v1/images/generations")
async def generate_images(
    body: ImageRequest, request: Request, session: CurrentSession, service: CurrentService
) -> dict[str, Any]:
    if body.size not in (None, "auto"):
        side = await run_in_threadpool(service.engine.call(_side).result)
        if side and body.size != f"{side}x{side}":
            sentence = f"size is {body.size!r}: expected 'auto' or '{side}x{side}', the model's only size"
            raise ApiError(400, sentence, "invalid_value")
    jobs: list[Job] = []
    try:
        for number in range(body.n or 1):
            jobs.append(submit_medium("image", body, service, number))
        images = [(await service.finished(job, request)).reply.media[0] for job in jobs]
    finally:
        for job in jobs:
            job.cancel()
    if body.response_format == "url":
        stored = [await service.store(session, image) for image in images]
        data = [{"url": service.address(request, each)} for each in stored]
    else:
        files = [await run_in_threadpool(reply_medium_bytes, image) for image in images]
        data = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return {"created": int(time.time()), "data": data, "output_format": "png"}


def _side(model: AnyToAny) -> int | None:
    """Pixels on each side of the model's pictures."""
    return model.decoders["image"].size if "image" in model.core.config.output_modalities else None


@router.post("/v1/audio/speech", response_class=Response, responses={200: {"content": AUDIO_CONTENT}})
async def generate_audio(body: SpeechRequest, request: Request, service: CurrentService) -> Response:
    """The sound that ``input`` describes, a WAV file unless another is asked for. The model speaks no words."""
    job = submit_medium("audio", body, service)
    audio = (await service.finished(job, request)).reply.media[0]
    form = body.response_format or "wav"
    return Response(await run_in_threadpool(encode_audio, audio, form), media_type=AUDIO_FORMATS[form].mime)


@router.post("/v1/videos")
async def create_video(request: Request, session: CurrentSession, service: CurrentService) -> Video:
    body = await _video_request(request)
    if len(session.videos) >= MAX_VIDEOS:
        raise ApiError(429, f"a session holds at most {MAX_VIDEOS} videos: delete some", "too_many_videos")
    video = Video(model=service.name, prompt=body.prompt)
    video.follow(submit_medium("video", body, service))
    session.videos[video.id] = video
    return video


async def _video_request(request: Request) -> MediumRequest:
    """The request from a form, which OpenAI's client sends, or from JSON. Length and size are the model's own."""
    try:
        if "json" in request.headers.get("content-type", ""):
            values: Any = await request.json()
        else:
            values = dict(await request.form())
        return MediumRequest.model_validate(values)
    except ValidationError as error:
        raise ApiError(400, first_problem(error)) from None
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


@router.get("/v1/videos")
async def list_videos(session: CurrentSession) -> dict[str, Any]:
    return {"object": "list", "data": [*session.videos.values()], "has_more": False}


@router.get("/v1/videos/{name}")
async def show_video(name: str, session: CurrentSession) -> Video:
    return _find_video(session, name)


@router.get("/v1/videos/{name}/content", response_class=Response, responses={200: {"content": {"video/mp4": {}}}})
async def video_content(name: str, session: CurrentSession) -> Response:
    video = _find_video(session, name)
    if video.content is None:
        raise ApiError(409, f"the video is not finished: its status is {video.status!r}", "not_ready")
    return Response(video.content, media_type="video/mp4")


@router.delete("/v1/videos/{name}")
async def delete_video(name: str, session: CurrentSession) -> dict[str, Any]:
    """Delete a video; an unfinished one is stopped."""
    _find_video(session, name).cancel()
    session.videos.pop(name, None)
    return {"id": name, "object": "video.deleted", "deleted": True}


def _find_video(session: Session, name: str) -> Video:
    if name not in session.videos:
        raise ApiError(404, f"this session has no video {name!r}", "not_found")
    return session.videos[name]
