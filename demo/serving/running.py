"""Listening at a port, serving an application at it until a signal comes, and arguments for both."""

import argparse
import errno
import ipaddress
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Names a key that needs not stand in the command line, which every user of the machine can read.
KEY_VARIABLE = "NEXTGPT_LITE_KEY"


def add_arguments(parser: argparse.ArgumentParser, port: int) -> None:
    """Arguments of page and server about the network."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine only")
    parser.add_argument("--port", type=int, default=port, help=f"default: {port}; 0 = any free port")
    parser.add_argument(
        "--key", action="append", default=[], help=f"a key that requests must send; may be repeated; or {KEY_VARIABLE}"
    )
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="a file with a key in each line")
    help = "another host name by which it may be called"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=help)


def read_keys(args: argparse.Namespace) -> list[str]:
    """The keys of ``--key``, ``--key-file`` and the environment. ValueError for one that no header can hold."""
    keys = [*args.key, *filter(None, [os.environ.get(KEY_VARIABLE)])]
    if args.key_file:
        try:
            lines = [line.strip() for line in args.key_file.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError:
            raise ValueError(f"{args.key_file} is no text file: expected a key in each line") from None
        keys += filter(None, lines)
        if not any(lines):
            raise ValueError(f"{args.key_file} holds no key: expected one in each line")
    for number, key in enumerate(keys, 1):
        if not (key and key.isascii() and key.isprintable() and " " not in key):
            raise ValueError(f"key {number} is empty or has blanks: expected letters, digits and signs of ASCII")
    return keys


def allowed_hosts(args: argparse.Namespace) -> list[str]:
    """Names by which page or server may be called; empty where it listens to other machines and none was given."""
    names = [name.lower() for name in args.allow_host]
    return ["localhost", "127.0.0.1", "::1", args.host.lower(), *names] if is_loopback(args.host) or names else []


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. ValueError, in a sentence, where that is not possible."""
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is {port}: expected 0 to 65535")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"port {port} is in use already: end the other program, or give another --port",
            errno.EACCES: f"port {port} is only for the system's own programs: give another --port",
        }
        sentence = f"{host} is no address of this machine: give another --host"
        raise ValueError(reasons.get(error.errno or 0, sentence)) from error


def address_of(listener: socket.socket) -> str:
    """Where a browser finds what listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def serving(app: Any, listener: socket.socket, grace: int = 5) -> Iterator[threading.Thread]:
    """Serve an ASGI application in a thread, which ends with the block; open requests have ``grace`` seconds more."""
    import uvicorn

    from demo.serving.connections import BoundedConnection

    config = uvicorn.Config(
        app, http=BoundedConnection, ws="none", log_level="warning", limit_concurrency=512, server_header=False,
        timeout_graceful_shutdown=grace,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        yield thread
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """The signals that end a process act as Ctrl-C does meanwhile, once, so that all that is open is closed."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def interrupt(*_: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(each, interrupt) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)
