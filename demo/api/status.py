"""``/v1/models``, ``/healthz`` and ``/metrics``: the model, its state, and the server's counters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from demo.api.errors import ApiError
from demo.api.service import CurrentService, Service

router = APIRouter()
STARTED = int(time.time())


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


@router.get("/metrics")
async def metrics(service: CurrentService) -> Response:
    """Prometheus' text format."""
    return PlainTextResponse("\n".join(_lines(service)) + "\n", media_type="text/plain; version=0.0.4")


def _lines(service: Service) -> Iterator[str]:
    counts = service.engine.counts
    families = (
        ("requests_total", "requests by how they ended", counts.requests, "outcome"),
        ("media_total", "media generated", counts.media, "modality"),
        ("seconds_total", "seconds by what was generated; requests: from arrival to end", counts.seconds, "what"),
    )
    for name, text, values, label in families:
        yield from _family(name, "counter", text, values, label)
    single = (
        ("tokens_total", "counter", "tokens generated", counts.tokens),
        ("unfinished_requests", "gauge", "requests that wait or are being answered", service.engine.unfinished),
        ("queue_limit", "gauge", "requests that may be unfinished at a time", service.engine.queue_limit),
        ("sessions", "gauge", "sessions that hold files", service.sessions.count),
        ("resident_memory_bytes", "gauge", "resident memory of the server", psutil.Process().memory_info().rss),
    )
    for name, kind, text, value in single:
        yield from _header(name, kind, text)
        yield f"nextgpt_lite_{name} {value}"


def _family(name: str, kind: str, text: str, values: dict[str, Any], label: str) -> Iterator[str]:
    yield from _header(name, kind, text)
    for key, value in sorted(values.copy().items()):
        yield f'nextgpt_lite_{name}{{{label}="{key}"}} {value}'


def _header(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP nextgpt_lite_{name} {text}", f"# TYPE nextgpt_lite_{name} {kind}"


@router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def unknown_path(path: str) -> Response:
    raise ApiError(404, f"there is nothing at /{path[:80]}", "not_found")
