"""``/v1/chat/completions``: messages with media in, text and media out, whole or as a stream of events."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from demo.api.content import Message, read_messages
from demo.api.errors import ApiError
from demo.api.service import CurrentService, CurrentSession, Service, events, failure
from demo.api.sessions import Session
from demo.engine.events import Finished, MediumProgress, MediumReady, MediumStarted, TextDelta
from demo.engine.job import Job
from nextgpt_lite import ReplyMedium
from nextgpt_lite.conversation_media import reply_medium_bytes

router = APIRouter()
#: Settings of OpenAI's API that are refused.
UNSUPPORTED = ("tools", "functions", "response_format", "logprobs", "stop", "prediction")


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's request, and settings beyond it. Temperature is 0 unless it is given."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=512)
    modalities: list[str] | None = None  # which media the reply may hold besides text; None = all
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    n: int | None = None
    # Beyond OpenAI's.
    steps: int | None = None  # of diffusion
    guidance: float | None = None
    language: Literal["en", "zh"] | None = None
    media_format: Literal["link", "b64_json"] = "b64_json"
    model_config = {"extra": "allow"}

    def settings(self) -> dict[str, Any]:
        """Keywords of the engine's ``submit``. ApiError for what is not supported."""
        if self.n not in (None, 1):
            raise ApiError(400, f"n is {self.n}: expected 1, send the request again for more replies")
        for name in UNSUPPORTED:
            if (self.model_extra or {}).get(name):
                raise ApiError(400, f"{name} is not supported")
        settings: dict[str, Any] = {"steps": self.steps, "guidance": self.guidance, "language": self.language}
        settings |= {"seed": self.seed or 0, "temperature": self.temperature or 0.0}
        if tokens := self.max_completion_tokens or self.max_tokens:
            settings["max_new_tokens"] = min(tokens, 192)
        if self.modalities is not None:
            settings["allowed_media"] = [each for each in self.modalities if each != "text"]
        return settings


@router.post("/v1/chat/completions")
async def complete(body: ChatRequest, request: Request, session: CurrentSession, service: CurrentService) -> Response:
    service.check_model(body.model)
    settings = body.settings()
    job = service.submit(await read_messages(body.messages, service, session), **settings)
    reply = ChatReply(body, job, service, session)
    if body.stream:
        return StreamingResponse(reply.stream(request), media_type="text/event-stream")
    finished = await service.finished(job, request)
    return JSONResponse(await reply.whole(finished))


class ChatReply:
    """A reply in OpenAI's form: an object, or chunks of one."""

    def __init__(self, body: ChatRequest, job: Job, service: Service, session: Session) -> None:
        self.body, self.job, self.service, self.session = body, job, service, session
        self.id, self.created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

    async def whole(self, finished: Finished) -> dict[str, Any]:
        media = [await self.medium(medium) for medium in finished.reply.media]
        message: dict[str, Any] = {"role": "assistant", "content": finished.reply.text, "refusal": None, "media": media}
        audio = [medium for medium in finished.reply.media if medium.modality == "audio"]
        if audio and "audio" in (self.body.modalities or []):
            message["audio"] = await self._openai_audio(audio[0], finished.reply.text)
        choice = {"index": 0, "message": message, "finish_reason": self._reason(finished), "logprobs": None}
        return self._object("chat.completion", [choice], usage=_usage(finished))

    async def stream(self, request: Request) -> AsyncIterator[str]:
        """Server-sent events. Media come as chunks whose delta has ``media``, their progress as ``media_progress``."""
        yield self._chunk({"role": "assistant", "content": ""})
        last = None
        async for last in events(self.job, request):
            match last:
                case TextDelta(text):
                    yield self._chunk({"content": text})
                case MediumStarted(modality, index):
                    yield self._chunk({"media_progress": {"index": index, "modality": modality, "step": 0}})
                case MediumProgress(modality, index, step, total):
                    progress = {"index": index, "modality": modality, "step": step, "steps": total}
                    yield self._chunk({"media_progress": progress})
                case MediumReady(_, index, medium):
                    yield self._chunk({"media": [await self.medium(medium) | {"index": index}]})
        if not isinstance(last, Finished) or last.cancelled:
            yield _event(failure(last).body)
            return
        yield self._chunk({}, self._reason(last))
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield _event(self._object("chat.completion.chunk", [], usage=_usage(last)))
        yield "data: [DONE]\n\n"

    async def medium(self, medium: ReplyMedium) -> dict[str, Any]:
        """A medium of a reply: a file of this session, with its content unless only a link was requested."""
        stored = await self.service.store(self.session, medium)
        shown = {"id": stored.id, "modality": medium.modality, "mime_type": stored.mime_type}
        shown["url"] = f"/v1/files/{stored.id}/content"
        if self.body.media_format == "b64_json":
            shown["b64_json"] = base64.b64encode(stored.path.read_bytes()).decode()
        return shown

    async def _openai_audio(self, medium: ReplyMedium, transcript: str) -> dict[str, Any]:
        content = base64.b64encode(await run_in_threadpool(reply_medium_bytes, medium)).decode()
        name, expires = f"audio-{secrets.token_hex(12)}", self.created + int(self.service.sessions.seconds)
        return {"id": name, "data": content, "expires_at": expires, "transcript": transcript}

    def _reason(self, finished: Finished) -> str:
        return "length" if finished.tokens >= self.job.settings.max_new_tokens else "stop"

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _event(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        base = {"id": self.id, "object": kind, "created": self.created, "model": self.service.name}
        return base | {"choices": choices} | more


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _usage(finished: Finished) -> dict[str, int]:
    read, written = finished.prompt_tokens, finished.tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
