"""The server's parts put together: guard, routes, errors, and the sweep of expired sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from fastapi import FastAPI

from demo.api import chat, embeddings, errors, files, media, status, videos
from demo.api.guards import LOOPBACK, Guard
from demo.api.service import Service

#: Seconds between two looks for expired sessions.
SWEEP = 30.0


def build(
    service: Service,
    *,
    keys: Collection[str] = (),
    hosts: Collection[str] = LOOPBACK,
    body_bytes: int = 96 * 2**20,
    sweep_seconds: float = SWEEP,
) -> Guard:
    """The ASGI application of a service. See :class:`demo.api.guards.Guard` for who may use it.

    Whoever builds it closes the service.
    """

    @asynccontextmanager
    async def sweeping(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(service, sweep_seconds))
        yield
        sweeper.cancel()

    app = FastAPI(title="nextgpt_lite", lifespan=sweeping, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    errors.install(app)
    for part in (chat, files, media, videos, embeddings, status):  # status last: it answers what nobody else does
        app.include_router(part.router)
    return Guard(app, keys, hosts, body_bytes)


async def _sweep(service: Service, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        service.sessions.sweep()
