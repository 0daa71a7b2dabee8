"""The server's application: guard, routes, errors, and the removal of expired sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from fastapi import FastAPI

from demo.api import chat, embeddings, errors, files, media, status, videos
from demo.api.guards import LOOPBACK, Guard
from demo.api.service import Service

#: Seconds between two removals of expired sessions.
SWEEP_SECONDS = 30.0


def build(
    service: Service,
    *,
    keys: Collection[str] = (),
    hosts: Collection[str] = LOOPBACK,
    body_bytes: int = 96 * 2**20,
    sweep_seconds: float = SWEEP_SECONDS,
) -> Guard:
    """The ASGI application of a service. See :class:`demo.api.guards.Guard` for who may use it.

    The caller closes the service.
    """

    @asynccontextmanager
    async def sweeping(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(service, sweep_seconds))
        yield
        sweeper.cancel()

    app = FastAPI(title="nextgpt_lite", lifespan=sweeping, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    errors.install(app)
    for part in (chat, files, media, videos, embeddings, status):  # status last: it answers all other paths
        app.include_router(part.router)
    return Guard(app, keys, hosts, body_bytes)


async def _sweep(service: Service, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        service.sessions.sweep()
