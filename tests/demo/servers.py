"""A port, a real server for tests, and OpenAI's client for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def serving(service, **settings) -> Iterator[str]:
    """The service at an address of this machine. The engine stays open."""
    from demo.api.application import build
    from demo.serving import running

    with running.listen("127.0.0.1", 0) as listener, running.serving(build(service, **settings), listener):
        yield running.address_of(listener)
    service.sessions.close()
    service.uploads.close()


def client(address: str, key: str = "mine"):
    """OpenAI's client, which asks once and waits long."""
    import openai

    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=250)
