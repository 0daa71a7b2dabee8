"""``/v1/chat/completions``: messages with media in, text and media out, whole or as a stream of events.

Media of a reply are links in its content, which all clients show; those who know this server find more in ``media``.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from demo.api.audio_formats import encode_audio
from demo.api.content import Message, media_link, read_messages
from demo.api.errors import ApiError
from demo.api.parameters import ApiRequest
from demo.api.service import CurrentService, CurrentSession, Service, events, failure
from demo.api.sessions import Session
from demo.engine.events import Finished, MediumProgress, MediumReady, MediumStarted, TextDelta
from demo.engine.job import Job
from nextgpt_lite import ReplyMedium
from nextgpt_lite.conversation_media import interleave

router = APIRouter()
#: The most tokens of a reply; a request for more gets these.
MAX_TOKENS = 192
#: Characters of base64 in one audio chunk of a stream: three seconds of samples.
AUDIO_CHUNK = 192_000


class StreamOptions(BaseModel):
    include_usage: bool | None = None


class Audio(BaseModel):
    """The form in which clients of OpenAI's audio models get a sound. There are no voices to choose from."""

    format: Literal["wav", "flac", "mp3", "opus", "aac", "pcm16"] | None = None  # None = wav


class ChatRequest(ApiRequest):
    """OpenAI's request, and settings beyond it. Temperature is 0 unless it is given."""

    route = "chat/completions"
    model: str
    messages: list[Message] = Field(min_length=1, max_length=10_000)
    modalities: list[str] | None = None  # which media the reply may hold besides text; None = all
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    audio: Audio | None = None
    # Beyond OpenAI's.
    steps: int | None = None  # of diffusion
    guidance: float | None = None
    language: Literal["en", "zh"] | None = None
    media_format: Literal["link", "b64_json"] | None = None  # None = with the content as b64_json

    def settings(self) -> dict[str, Any]:
        """Keywords of the engine's ``submit``. ApiError for a reply without tokens."""
        settings: dict[str, Any] = {"steps": self.steps, "guidance": self.guidance, "language": self.language}
        settings |= {"seed": self.seed or 0, "temperature": self.temperature or 0.0}
        if self.top_p is not None:
            settings["top_p"] = self.top_p
        for tokens in (self.max_tokens, self.max_completion_tokens):
            if tokens is not None and tokens < 1:
                raise ApiError(400, f"max_tokens is {tokens}: expected at least 1", "invalid_value")
            if tokens is not None:
                settings["max_new_tokens"] = min(tokens, MAX_TOKENS)
        if self.modalities is not None:
            settings["allowed_media"] = [each for each in self.modalities if each != "text"]
        return settings


@router.post("/v1/chat/completions", responses={200: {"content": {"text/event-stream": {}}}})
async def complete(body: ChatRequest, request: Request, session: CurrentSession, service: CurrentService) -> Response:
    service.check_model(body.model)
    settings = body.settings()
    job = service.submit(await read_messages(body.messages, service, session), **settings)
    reply = ChatReply(body, job, service, session, request)
    if body.stream:
        return StreamingResponse(reply.stream(), media_type="text/event-stream")
    finished = await service.finished(job, request)
    return JSONResponse(await reply.whole(finished))


class ChatReply:
    """A reply in OpenAI's form: an object, or chunks of one."""

    def __init__(self, body: ChatRequest, job: Job, service: Service, session: Session, request: Request) -> None:
        self.body, self.job, self.service, self.session, self.request = body, job, service, session, request
        self.id, self.created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

    async def whole(self, finished: Finished) -> dict[str, Any]:
        reply = finished.reply
        media = [await self.medium(medium) for medium in reply.media]
        parts = interleave(reply.text, media, [medium.position for medium in reply.media])
        content = "\n\n".join(part["text"].strip() if "text" in part else _link(part) for part in parts)
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "media": media}
        audio = [medium for medium in reply.media if medium.modality == "audio"]
        if audio and self.wants_audio:
            message["audio"] = await self._openai_audio(audio[0], reply.text)
        choice = {"index": 0, "message": message, "finish_reason": self._reason(finished), "logprobs": None}
        more = {"usage": _usage(finished), "dropped_turns": reply.dropped_turns}
        return self._object("chat.completion", [choice], **more)

    async def stream(self) -> AsyncIterator[str]:
        """Server-sent events. Media come as links in the content and as ``media``, their progress as
        ``media_progress``."""
        yield self._chunk({"role": "assistant", "content": ""})
        said, last = "", None
        async for last in events(self.job, self.request):
            match last:
                case TextDelta(text):
                    said += text
                    yield self._chunk({"content": text})
                case MediumStarted(modality, index):
                    yield self._chunk({"media_progress": {"index": index, "modality": modality, "step": 0}})
                case MediumProgress(modality, index, step, total):
                    progress = {"index": index, "modality": modality, "step": step, "steps": total}
                    yield self._chunk({"media_progress": progress})
                case MediumReady(modality, index, medium):
                    shown = await self.medium(medium) | {"index": index}
                    yield self._chunk({"content": f"\n\n{_link(shown)}", "media": [shown]})
                    if modality == "audio" and self.wants_audio:
                        for delta in _audio_deltas(await self._openai_audio(medium, said)):
                            yield self._chunk({"audio": delta})
        if not isinstance(last, Finished) or last.cancelled:
            yield _event(failure(last).body)
            return
        yield self._chunk({}, self._reason(last), dropped_turns=last.reply.dropped_turns)
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield _event(self._object("chat.completion.chunk", [], usage=_usage(last)))
        yield "data: [DONE]\n\n"

    @property
    def wants_audio(self) -> bool:
        """Whether sounds are given in the form of OpenAI's audio models too."""
        return self.body.audio is not None or "audio" in (self.body.modalities or [])

    async def medium(self, medium: ReplyMedium) -> dict[str, Any]:
        """A medium of a reply: a file of this session, with its content unless only a link was requested.

        ``link`` opens it without a key.
        """
        stored = await self.service.store(self.session, medium)
        shown = {"id": stored.id, "modality": medium.modality, "mime_type": stored.mime_type}
        shown["url"] = f"/v1/files/{stored.id}/content"
        shown["link"] = self.service.address(self.request, stored)
        if self.body.media_format != "link":
            shown["b64_json"] = base64.b64encode(stored.path.read_bytes()).decode()
        return shown

    async def _openai_audio(self, medium: ReplyMedium, transcript: str) -> dict[str, Any]:
        form = self.body.audio.format if self.body.audio else None
        content = base64.b64encode(await run_in_threadpool(encode_audio, medium, form or "wav")).decode()
        name, expires = f"audio-{secrets.token_hex(12)}", self.created + int(self.service.sessions.seconds)
        return {"id": name, "data": content, "expires_at": expires, "transcript": transcript}

    def _reason(self, finished: Finished) -> str:
        return "length" if finished.tokens >= self.job.settings.max_new_tokens else "stop"

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _event(self._object("chat.completion.chunk", [choice], **more))

    def _object(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        base = {"id": self.id, "object": kind, "created": self.created, "model": self.service.name}
        return base | {"choices": choices} | more


def _link(shown: dict[str, Any]) -> str:
    return media_link(shown["modality"], shown["link"])


def _audio_deltas(audio: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A sound as OpenAI streams it: what is said, pieces of base64 of whole bytes, then when it expires."""
    yield {"id": audio["id"], "transcript": audio["transcript"]}
    for start in range(0, len(audio["data"]), AUDIO_CHUNK):
        yield {"id": audio["id"], "data": audio["data"][start : start + AUDIO_CHUNK]}
    yield {"id": audio["id"], "expires_at": audio["expires_at"]}


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _usage(finished: Finished) -> dict[str, int]:
    read, written = finished.prompt_tokens, finished.tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
