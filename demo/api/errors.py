"""Errors in OpenAI's shape: one sentence, a type, a code."""

import errno
import logging
import reprlib
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from demo.engine.job import QueueFull
from nextgpt_lite.conversation_media import MediaError

log = logging.getLogger(__name__)


class ApiError(HTTPException):
    """A request that is refused: HTTP status, a sentence for its sender, a code for programs."""

    def __init__(self, status: int, sentence: str, code: str | None = None, headers: Any = None) -> None:
        super().__init__(status, sentence, headers)
        self.code = code

    def __str__(self) -> str:
        return self.detail

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the error."""
        status = self.status_code
        kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
        return {"error": {"message": self.detail, "type": kind, "param": None, "code": self.code}}

    def as_response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status_code, self.headers)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def repr_of(value: Any) -> str:
    """A value of a request, however long and deep, short enough for a sentence."""
    return _REPR.repr(value)


def first_problem(error: Any) -> str:
    """The first of pydantic's or FastAPI's validation errors in one sentence."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}"
    place = ".".join(str(step) for step in first["loc"] if step != "body") or "the body"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _of_system(error: OSError) -> ApiError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ApiError(507, "the server's disk is full", "no_room")
    return ApiError(500, "the server failed at this request")


def _of_framework(error: StarletteHTTPException) -> ApiError:
    if isinstance(error.__cause__, OSError):  # a form could not be written to the disk
        return _of_system(error.__cause__)
    return ApiError(error.status_code, str(error.detail), headers=error.headers)


#: What each kind of exception is answered with.
ANSWERS: dict[type[Exception], Callable[[Any], ApiError]] = {
    ApiError: lambda error: error,
    MediaError: lambda error: ApiError(400, str(error), "invalid_media"),
    QueueFull: lambda error: ApiError(
        429, str(error), "queue_full", {"Retry-After": str(max(1, round(error.seconds)))}
    ),
    RequestValidationError: lambda error: ApiError(400, first_problem(error)),
    StarletteHTTPException: _of_framework,
    OSError: _of_system,
    Exception: lambda error: ApiError(500, "the server failed at this request"),
}


def install(app: FastAPI) -> None:
    """Answer every exception of a request handler with an error of this shape."""
    for kind, answer in ANSWERS.items():
        app.add_exception_handler(kind, partial(_respond, answer))


async def _respond(answer: Callable[[Any], ApiError], request: Request, error: Exception) -> JSONResponse:
    answered = answer(error)
    if answered.status_code == 500:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answered.as_response()
