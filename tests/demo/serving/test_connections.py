"""Connections that send nothing, or slowly, or too many of one address, lock nobody out."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from demo.serving import connections, guard, running


async def echo(request: Request) -> PlainTextResponse:
    """Answers how much came, after the seconds that the query asks for."""
    await asyncio.sleep(float(request.query_params.get("seconds", 0)))
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(connections, "OF_ONE_ADDRESS", 8)
    monkeypatch.setattr(connections, "OF_ALL", 20)
    monkeypatch.setattr(guard, "BODY_SECONDS", 1.0)
    app = guard.Guard(Starlette(routes=[Route("/", echo, methods=["GET", "POST"])]))
    with running.listen("127.0.0.1", 0) as listener, running.serving(app, listener, grace=1):
        yield running.address_of(listener)


@contextmanager
def half_open(
    address: str, count: int, sent: bytes = b"GET / HTTP/1.1\r\nHost: local"
) -> Iterator[list[socket.socket]]:
    """Connections that have sent the beginning of a request."""
    place = ("127.0.0.1", int(address.rpartition(":")[2]))
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(place, timeout=20)) for _ in range(count)]
        for each in sockets:
            each.sendall(sent)
        yield sockets


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes, whatever it has sent before. TimeoutError if it does not."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_half_open_requests_lock_nobody_out(address):
    with half_open(address, 60):
        assert httpx.get(address, timeout=10).text == "0"


def test_a_header_must_come_in_time(address):
    with half_open(address, 3) as sockets:
        started = time.monotonic()
        assert all(map(is_closed, sockets)) and time.monotonic() - started < 10
    with half_open(address, 1, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as [kept]:
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        kept.sendall(b"GET / HTTP/1.1\r\nHo")
        started = time.monotonic()
        assert is_closed(kept) and time.monotonic() - started < 10


def test_a_body_must_come_in_time(address):
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
    for length in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
        with half_open(address, 1, head + length + b"\r\n\r\n1\r\n") as [slow]:
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_slow_reply_is_waited_for(address):
    assert httpx.get(f"{address}/?seconds=3", timeout=20).text == "0"
    assert httpx.post(f"{address}/?seconds=3", content=b"abc", timeout=20).text == "3"


def test_one_address_cannot_take_all_connections(address):
    request = b"GET /?seconds=3 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with half_open(address, 8, request):
        time.sleep(0.5)
        assert httpx.get(address).status_code == 503
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
            assert other.get(address).text == "0"


def test_an_upload_that_goes_on_is_not_closed_for_those_that_are_silent(address):
    def slowly():
        for _ in range(20):
            time.sleep(0.02)
            yield b"x" * 1000

    with half_open(address, 7):
        assert httpx.post(address, content=slowly(), timeout=20).text == "20000"
        with half_open(address, 30):
            assert httpx.post(address, content=slowly(), timeout=20).text == "20000"


def test_all_bodies_together_have_a_bound(address, monkeypatch):
    monkeypatch.setattr(guard, "ALL_BODY_BYTES", 1000)
    assert httpx.post(address, content=b"x" * 1001).status_code == 503
    assert httpx.post(address, content=b"x" * 1000).status_code == 200  # what is answered is no longer counted
    assert httpx.post(address, content=b"x" * 1000).status_code == 200
