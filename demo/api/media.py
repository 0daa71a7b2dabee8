"""``/v1/images/generations`` and ``/v1/audio/speech``: one medium for a description."""

from __future__ import annotations

import base64
import time
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from demo.api.errors import ApiError
from demo.api.service import CurrentService, CurrentSession, Service
from demo.engine.job import Job
from demo.texts import request_for
from nextgpt_lite.conversation_media import reply_medium_bytes

router = APIRouter()


class MediumRequest(BaseModel):
    """What the routes that generate one medium have in common; seed, steps and guidance are beyond OpenAI's."""

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


def submit_medium(modality: str, description: str, service: Service, settings: MediumRequest, number: int = 0) -> Job:
    """A job whose reply holds a medium of ``modality`` of what is described, even if the model asks for none."""
    service.check_model(settings.model)
    return service.submit(
        [{"role": "user", "content": request_for(modality, description)}],
        seed=settings.seed + number, steps=settings.steps, guidance=settings.guidance,
        allowed_media=[modality], required_modality=modality,
    )  # fmt: skip


@router.post("/v1/images/generations")
async def generate_images(
    body: ImageRequest, request: Request, session: CurrentSession, service: CurrentService
) -> dict[str, Any]:
    if body.size not in (None, "auto"):
        raise ApiError(400, f"size is {body.size!r}: expected 'auto', the model's only size", "invalid_value")
    jobs: list[Job] = []
    try:
        for number in range(body.n or 1):
            jobs.append(submit_medium("image", body.prompt, service, body, number))
        images = [(await service.finished(job, request)).reply.media[0] for job in jobs]
    finally:
        for job in jobs:
            job.cancel()
    if body.response_format == "url":
        stored = [await service.store(session, image) for image in images]
        data = [{"url": str(request.url_for("content", name=each.id))} for each in stored]
    else:
        files = [await run_in_threadpool(reply_medium_bytes, image) for image in images]
        data = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return {"created": int(time.time()), "data": data, "output_format": "png"}


@router.post("/v1/audio/speech")
async def generate_audio(body: SpeechRequest, request: Request, service: CurrentService) -> Response:
    """The sound that ``input`` describes: WAV, or PCM of 16 bits. The embedded model speaks no words."""
    job = submit_medium("audio", body.input, service, body)
    audio = (await service.finished(job, request)).reply.media[0]
    if body.response_format == "pcm":
        samples = (np.clip(audio.array, -1, 1) * 32767).astype("<i2")
        return Response(samples.tobytes(), media_type="audio/pcm")
    return Response(await run_in_threadpool(reply_medium_bytes, audio), media_type="audio/wav")
