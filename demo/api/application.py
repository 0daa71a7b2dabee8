"""The server's application: guard, routes, errors, the removal of expired sessions.

Its own routes are ``/v1/models``, ``/healthz`` and ``/metrics``: the model, its state, and the server's counters;
``/openapi.json`` describes all routes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psutil
from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from jinja2 import Environment
from starlette.types import Receive, Scope, Send

from demo.api import chat, embeddings, errors, files, generation
from demo.api.errors import ApiError
from demo.api.service import CurrentService, Service
from demo.serving.guard import BODY_BYTES, LOOPBACK, Guard
from demo.texts import read_asset

router = APIRouter()
#: Routes of OpenAI's API that are not served, and what to do instead.
NOT_SERVED = {
    "responses": "send messages to /v1/chat/completions",
    "completions": "send messages to /v1/chat/completions",
    "audio/transcriptions": "the model writes no speech down; ask about a sound in /v1/chat/completions (input_audio)",
    "audio/translations": "the model writes no speech down; ask about a sound in /v1/chat/completions (input_audio)",
    "images/edits": "send the picture (image_url) and what to change to /v1/chat/completions",
    "images/variations": "send the picture (image_url) to /v1/chat/completions and ask for another",
    "moderations": "there is no model for it",
    "assistants": "a conversation is sent as a whole to /v1/chat/completions",
    "threads": "a conversation is sent as a whole to /v1/chat/completions",
    "conversations": "a conversation is sent as a whole to /v1/chat/completions",
    "realtime": "replies are streamed by /v1/chat/completions",
    "batches": "send the requests one by one; those that wait are answered together",
    "fine_tuning": "models are trained by nextgpt-lite train",
}
#: Seconds between two removals of expired sessions.
SWEEP_SECONDS = 30.0
STARTED = int(time.time())
_METRICS = Environment(trim_blocks=True, lstrip_blocks=True).from_string(read_asset("metrics.txt"))


@router.get("/v1/models")
async def list_models(service: CurrentService) -> dict[str, Any]:
    return {"object": "list", "data": [_model(service)]}


@router.get("/v1/models/{name}")
async def show_model(name: str, service: CurrentService) -> dict[str, Any]:
    service.check_model(name)
    return _model(service)


def _model(service: Service) -> dict[str, Any]:
    return {"id": service.name, "object": "model", "created": STARTED, "owned_by": "nextgpt_lite"}


@router.get("/healthz")
async def health(service: CurrentService) -> Response:
    """200 once the model is loaded; 503 while it loads, or if it could not be loaded."""
    if not service.engine.ready:
        return JSONResponse({"status": "loading"}, 503)
    if service.engine.model.exception() is not None:
        return JSONResponse({"status": "broken"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: CurrentService) -> Response:
    """The server's counters in Prometheus' text format."""
    memory = psutil.Process().memory_info().rss
    engine, sessions = service.engine, service.sessions.count
    text = _METRICS.render(engine=engine, counts=engine.counts, sessions=sessions, memory=memory)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
    """ApiError 404 for a path that no route has. A method that a route has not is answered 405 by the router."""
    path = scope["path"].lstrip("/")
    for route, sentence in NOT_SERVED.items():
        if f"{path}/".startswith(f"v1/{route}/"):
            raise ApiError(404, f"/v1/{route} is not served: {sentence}", "not_served")
    raise ApiError(404, f"there is nothing at /{path[:80]}", "not_found")


def build(
    service: Service,
    *,
    keys: Collection[str] = (),
    hosts: Collection[str] = LOOPBACK,
    body_bytes: int = BODY_BYTES,
    sweep_seconds: float = SWEEP_SECONDS,
) -> Guard:
    """The ASGI application of a service. See :class:`demo.serving.guard.Guard` for who may use it.

    The caller closes the service.
    """

    @asynccontextmanager
    async def sweeping(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(service, sweep_seconds))
        yield
        sweeper.cancel()

    app = FastAPI(title="nextgpt_lite", lifespan=sweeping, openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    app.state.service = service
    errors.install(app)
    for each in (chat.router, files.router, generation.router, embeddings.router, router):
        app.include_router(each)
    app.router.default = unknown_path
    opened = partial(files.is_signed, sessions=service.sessions)
    return Guard(app, keys=keys, hosts=hosts, body_bytes=body_bytes, opened=opened)


async def _sweep(service: Service, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        service.sessions.sweep()
