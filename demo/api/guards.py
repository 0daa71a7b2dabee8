"""Checks before every request: host, origin, key, and size of the body."""

import secrets
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.api.errors import ApiError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: Paths that need no key: load balancers request them.
OPEN = ("/healthz",)


class Guard:
    """Refuses requests that must not reach the application.

    Args:
        app: the application behind it.
        keys: keys of which a request must send one as a bearer token; empty = none is needed.
        hosts: host names by which the server may be called; empty = any. They keep out a web page whose own name
            resolves to this machine (DNS rebinding).
        body_bytes: the most that a request's body may have, counted while it is read.
    """

    def __init__(self, app: ASGIApp, keys: Collection[str], hosts: Collection[str], body_bytes: int) -> None:
        self.app, self.keys, self.hosts, self.body_bytes = app, list(keys), list(hosts), body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check(scope["path"], headers)
            await self.app(scope, self._counted(receive), send_and_note)
        except ApiError as error:
            if started:
                raise
            await error.as_response()(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self.hosts and _name(host) not in self.hosts:
            raise ApiError(403, f"this server is not called {_name(host)!r}", "wrong_host")
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != host:
            raise ApiError(403, f"pages of {origin} may not use this server", "wrong_origin")
        if self.keys and path not in OPEN:
            given = bearer(headers).encode()
            if not any(secrets.compare_digest(given, key.encode()) for key in self.keys):
                raise ApiError(401, "the key is missing or wrong: send Authorization: Bearer KEY", "invalid_api_key")
        if int(headers.get("content-length") or 0) > self.body_bytes:
            raise self._too_large()

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self.body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the request has more than {self.body_bytes / 2**20:g} MiB", "too_large")


def bearer(headers: Headers) -> str:
    """The bearer token of a request, empty without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
