"""Checks before every request to the page and to the server: host, origin, key, and the body's size and speed."""

import asyncio
import base64
import binascii
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.api.errors import ApiError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: Paths that need no key: load balancers request them.
OPEN = ("/healthz",)
#: The most bytes that a request's body may have, and that the bodies of all unfinished requests have together.
BODY_BYTES, ALL_BODY_BYTES = 96 * 2**20, 512 * 2**20
#: The most values that a JSON body may hold: many small ones take seconds to read, in which nobody else is served.
JSON_VALUES = 200_000
#: How long a body may take: these seconds, and one more for each so many bytes.
BODY_SECONDS, BODY_BYTES_A_SECOND = 30.0, 50_000
#: A Host header: a name or an IPv4 address, or an IPv6 address in brackets, and perhaps a port.
_HOST = re.compile(r"(?:\[(?P<address>[\da-f:.]+)\]|(?P<name>[\w.-]+))(?::\d{1,5})?", re.ASCII | re.IGNORECASE)


class Guard:
    """Refuses requests that must not reach the application.

    Args:
        app: the application behind it.
        keys: keys of which a request must send one, as a bearer token or as a password; empty = none is needed.
        hosts: host names by which the application may be called. Empty = any with ``keys``; without, any address and
            any name without a dot. They keep out a web page whose own name resolves to this machine (DNS rebinding).
        body_bytes: the most that a request's body may have, counted while it is read; ``larger`` are exceptions for
            paths.
        headers: headers that every response gets. A Content-Security-Policy of its own stays, and holds as well.
        opened: whether a request needs no key and may come from pages of other origins, as signed addresses do.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Collection[str] = (),
        hosts: Collection[str] = LOOPBACK,
        body_bytes: int = BODY_BYTES,
        larger: Mapping[str, int] | None = None,
        headers: Mapping[str, str] | None = None,
        opened: Callable[[Scope], bool] = lambda scope: False,
    ) -> None:
        self.app, self.keys, self.hosts, self.headers = app, list(keys), set(hosts), dict(headers or {})
        self.body_bytes, self.larger, self.opened = body_bytes, larger or {}, opened
        self.held = 0  # bytes of the bodies of all unfinished requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the application's start and end
            await self.app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), False
        limit = self.larger.get(scope["path"].rstrip("/"), self.body_bytes)
        body = _Body(self, receive, limit, "json" in headers.get("content-type", "").lower())

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(MutableHeaders(scope=message), self.headers)
            await send(message)

        try:
            self._check_host(headers)
            if not self.opened(scope):
                self._check_sender(scope["path"], headers)
            body.check(int(headers.get("content-length") or 0))
            await self.app(scope, body.receive, send_with_headers)
        except ApiError as error:
            if started:
                raise
            await error.as_response()(scope, receive, send_with_headers)
        finally:
            self.held -= body.total

    def _check_host(self, headers: Headers) -> None:
        name = host_name(headers.get("host", ""))
        if not (name in self.hosts if self.hosts else self.keys or _cannot_be_rebound(name)):
            raise ApiError(403, f"this server is not called {name!r}", "wrong_host")

    def _check_sender(self, path: str, headers: Headers) -> None:
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and _place(origin) != _place(f"//{host}"):
            raise ApiError(403, f"pages of {origin[:100]} may not use this server", "wrong_origin")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            raise ApiError(403, "pages of other origins may not use this server", "wrong_origin")
        if self.keys and path not in OPEN:
            given = sent_key(headers).encode()
            if not any(secrets.compare_digest(given, key.encode()) for key in self.keys):
                sentence = "the key is missing or wrong: send Authorization: Bearer KEY, or the key as a password"
                raise ApiError(401, sentence, "invalid_api_key", {"WWW-Authenticate": 'Basic realm="nextgpt_lite"'})


def _add_headers(response: MutableHeaders, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if name.lower() == "content-security-policy":
            response.append(name, value)
        else:
            response[name] = value


class _Body:
    """The body of a request while it is read. ApiError for what is too large or too slow."""

    def __init__(self, guard: Guard, receive: Receive, limit: int, is_json: bool) -> None:
        self.guard, self.limit, self.is_json, self._receive = guard, limit, is_json, receive
        self.values, self.total, self.started, self.complete = 0, 0, time.monotonic(), False

    def check(self, size: int) -> None:
        """Whether a body of ``size`` bytes may come."""
        if size > self.limit:
            raise ApiError(413, f"the request has more than {self.limit / 2**20:g} MiB", "too_large")
        if self.guard.held - self.total + size > ALL_BODY_BYTES:
            raise ApiError(503, "the server is reading too much at once: try again", "busy", {"Retry-After": "5"})

    async def receive(self) -> Message:
        if self.complete:  # what comes now is that the client has gone
            return await self._receive()
        seconds = BODY_SECONDS + self.total / BODY_BYTES_A_SECOND + self.started - time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "the request came too slowly", "too_slow") from None
        size = len(message.get("body", b""))
        self.total += size
        self.guard.held += size
        self.check(self.total)
        self.values += message.get("body", b"").count(b",") if self.is_json else 0
        if self.values > JSON_VALUES:
            raise ApiError(413, f"the request holds more than {JSON_VALUES:,} values", "too_large")
        self.complete = not message.get("more_body", False)
        return message


def sent_key(headers: Headers) -> str:
    """The key that a request sends: its bearer token, or the password of basic authentication; empty without one."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return value.strip() if scheme.lower() == "bearer" else ""


def host_name(host: str) -> str:
    """The name in a Host header, without its port; empty for anything that is no Host header."""
    found = _HOST.fullmatch(host)
    return (found["address"] or found["name"]).lower() if found else ""


def _place(address: str) -> tuple[str | None, int | None]:
    """Host and port of an address; the usual ports count as none."""
    try:
        parts = urlsplit(address)
        return parts.hostname, None if parts.port in (80, 443) else parts.port
    except ValueError:
        return None, None


def _cannot_be_rebound(name: str) -> bool:
    """Whether a name is one that nobody can let point to this machine: an address, or a name of the local network."""
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return bool(name) and "." not in name
