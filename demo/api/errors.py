"""Errors in OpenAI's shape: one sentence, a type, a code."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from demo.engine.engine import QueueFull
from nextgpt_lite.visitors_media import MediaError

log = logging.getLogger(__name__)


class ApiError(HTTPException):
    """A request that is not answered: HTTP status, a sentence for its sender, a code for programs."""

    def __init__(self, status: int, sentence: str, code: str | None = None) -> None:
        super().__init__(status, sentence)
        self.code = code

    def __str__(self) -> str:
        return self.detail

    def as_response(self) -> JSONResponse:
        return JSONResponse(error_body(self.status_code, self.detail, self.code), self.status_code)


def error_body(status: int, sentence: str, code: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": code}}


def install(app: FastAPI) -> None:
    """Answer whatever is raised while a request is handled with an error of this shape."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        return error.as_response()

    @app.exception_handler(MediaError)
    async def bad_medium(_: Request, error: MediaError) -> JSONResponse:
        return JSONResponse(error_body(400, str(error), "invalid_media"), 400)

    @app.exception_handler(QueueFull)
    async def busy(_: Request, error: QueueFull) -> JSONResponse:
        wait = {"Retry-After": str(max(1, round(error.seconds)))}
        return JSONResponse(error_body(429, str(error), "queue_full"), 429, wait)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"] if step != "body") or "the body"
        return JSONResponse(error_body(400, f"{place}: {first['msg']}"), 400)

    @app.exception_handler(StarletteHTTPException)
    async def other(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return JSONResponse(error_body(500, "the server failed at this request"), 500)
