"""``/v1/images/generations`` and ``/v1/audio/speech``: one medium for a sentence."""

from __future__ import annotations

import base64
import re
import secrets
import time
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from demo.api.errors import ApiError
from demo.api.service import Here, Service
from demo.engine.job import Finished, Job
from nextgpt_lite import ReplyMedium
from nextgpt_lite.visitors_media import as_file

router = APIRouter()
#: How a description is asked for, in English and in Chinese. The medium comes whatever the model says to it.
REQUESTS = {
    "image": ("Draw {}", "画{}"),
    "audio": ("Let me hear {}", "让我听听{}"),
    "video": ("Make a video of {}", "拍一段视频：{}"),
}
_CHINESE = re.compile("[\u4e00-\u9fff]")


class MediumRequest(BaseModel):
    """What the routes that make one medium have in common; seed, steps and guidance are beyond OpenAI's."""

    model: str | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None


class ImageRequest(MediumRequest):
    prompt: str = Field(min_length=1, max_length=4000)
    n: int | None = Field(default=None, ge=1, le=8)
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None


class SpeechRequest(MediumRequest):
    input: str = Field(min_length=1, max_length=4000)
    response_format: Literal["wav", "pcm"] = "wav"


def ask_for(modality: str, description: str, here: Service, settings: MediumRequest, number: int = 0) -> Job:
    """A job whose reply holds a medium of ``modality`` of what ``description`` says."""
    here.check_model(settings.model)
    wording = REQUESTS[modality][1 if _CHINESE.search(description) else 0]
    message = {"role": "user", "content": wording.format(description.strip())}
    return here.submit(
        [message], seed=settings.seed + number, steps=settings.steps, guidance=settings.guidance,
        allowed_media=[modality], demanded=modality,
    )  # fmt: skip


def made(finished: Finished) -> ReplyMedium:
    """The medium of such a job."""
    return finished.reply.media[0]


@router.post("/v1/images/generations")
async def generate_images(body: ImageRequest, request: Request, here: Here) -> dict[str, Any]:
    if body.size not in (None, "auto"):
        raise ApiError(400, f"size is {body.size!r}: expected 'auto', for a model draws in one size", "invalid_value")
    jobs: list[Job] = []
    try:
        for number in range(body.n or 1):
            jobs.append(ask_for("image", body.prompt, here, body, number))
        images = [made(await here.finished(job, request)) for job in jobs]
    finally:
        for job in jobs:
            job.cancel()
    session = here.sessions.of(request)
    if body.response_format == "url":
        stored = [await here.store(session, image) for image in images]
        data = [{"url": str(request.url_for("content", name=each.id))} for each in stored]
    else:
        files = [await run_in_threadpool(as_file, image) for image in images]
        data = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return {"created": int(time.time()), "data": data, "output_format": "png"}


@router.post("/v1/audio/speech")
async def generate_sound(body: SpeechRequest, request: Request, here: Here) -> Response:
    """The sound that ``input`` describes: WAV, or PCM of 16 bits at 16 kHz. The embedded model speaks no words."""
    sound = made(await here.finished(ask_for("audio", body.input, here, body), request))
    if body.response_format == "pcm":
        samples = (np.clip(sound.array, -1, 1) * 32767).astype("<i2")
        return Response(samples.tobytes(), media_type="audio/pcm")
    return Response(await run_in_threadpool(as_file, sound), media_type="audio/wav")


def new_id(kind: str) -> str:
    """An id that cannot be guessed."""
    return f"{kind}_{secrets.token_urlsafe(24)}"
