"""``nextgpt-lite serve``: the model for other programs, as OpenAI's clients speak to one."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from demo.commands.demo import ERRORS as DEMO_ERRORS
from demo.engine.model_pool import load

ERRORS = (*DEMO_ERRORS, ValueError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="nano", help="nano, or a model folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine only")
    parser.add_argument("--port", type=int, default=8000, help="0 = any that is free")
    parser.add_argument("--key", action="append", default=[], help="a key that requests must bring; may be repeated")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name by which the server may be called"
    )
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait at a time")
    parser.add_argument("--batch", type=int, default=8, help="replies whose text is generated together")
    parser.add_argument("--session-minutes", type=float, default=60.0, help="how long a client's files stay unused")


def run(args: argparse.Namespace) -> int:
    from nextgpt_lite.checkpoint import read_manifest, resolve_model

    _check(args)
    read_manifest(resolve_model(args.model))  # a wrong name is said before anything starts
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    with socket.create_server((args.host, args.port), family=family) as listener:
        serve(args, listener)
    return 0


def serve(args: argparse.Namespace, listener: socket.socket) -> None:
    """Answer at ``listener`` until interrupted. The model is loaded meanwhile; /healthz says when it is there."""
    import uvicorn

    from demo.api.application import build
    from demo.api.guards import LOOPBACK
    from demo.api.service import Service
    from demo.api.sessions import Sessions
    from demo.engine.engine import Engine

    engine = Engine(lambda: load(args.model), queue_limit=args.queue, batch=args.batch)
    engine.warm_up()
    service = Service(engine, model_name(args.model), Sessions(args.session_minutes))
    hosts = [*LOOPBACK, args.host, *args.allow_host] if args.host in LOOPBACK or args.allow_host else []
    app = build(service, keys=args.key, hosts=hosts)
    print(f"http://{_address(listener)}/v1  (Ctrl-C ends)", flush=True)
    if args.host not in LOOPBACK and not args.key:
        print(f"Caution: whoever reaches {args.host} can use it; give a --key.", flush=True)
    config = uvicorn.Config(app, log_level="warning", limit_concurrency=512, timeout_graceful_shutdown=5)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        service.close()


def model_name(model: str) -> str:
    """What clients call the model: its name, of a folder the last part."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def _check(args: argparse.Namespace) -> None:
    for name, least in (("queue", 1), ("batch", 1), ("session_minutes", 0.01)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name)}: expected at least {least}")


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
