"""``nextgpt-lite serve``: an OpenAI-compatible API."""

import argparse
import socket

from demo.commands import demo

ERRORS = demo.ERRORS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="nano", help="nano, or a model folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine only")
    parser.add_argument("--port", type=int, default=8000, help="0 = any free port")
    parser.add_argument("--key", action="append", default=[], help="a key that requests must send; may be repeated")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another host name by which the server may be called",
    )
    parser.add_argument("--queue", type=int, default=64, help="most unfinished requests")
    parser.add_argument("--batch", type=int, default=8, help="replies whose text is generated together")
    parser.add_argument("--session-minutes", type=float, default=60.0, help="how long a client's unused files are kept")


def run(args: argparse.Namespace) -> int:
    from nextgpt_lite.checkpoint import read_manifest, resolve_model

    _check(args)
    read_manifest(resolve_model(args.model))  # refuses a wrong name at once
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    with socket.create_server((args.host, args.port), family=family) as listener:
        serve(args, listener)
    return 0


def serve(args: argparse.Namespace, listener: socket.socket) -> None:
    """Answer at ``listener`` until interrupted. The model loads in the background; /healthz tells when it is ready."""
    import uvicorn

    from demo.api.application import build
    from demo.api.service import Service
    from demo.api.sessions import Sessions
    from demo.engine.engine import Engine
    from demo.engine.model_pool import load, short_name

    engine = Engine(lambda: load(args.model), queue_limit=args.queue, batch=args.batch)
    engine.warm_up()
    service = Service(engine, short_name(args.model), Sessions(args.session_minutes))
    hosts = [*demo.LOOPBACK, args.host, *args.allow_host] if args.host in demo.LOOPBACK or args.allow_host else []
    app = build(service, keys=args.key, hosts=hosts)
    print(f"http://{_address(listener)}/v1  (Ctrl-C ends)", flush=True)
    if args.host not in demo.LOOPBACK and not args.key:
        print(f"Caution: anyone who can reach {args.host} can use it; give a --key.", flush=True)
    config = uvicorn.Config(app, log_level="warning", limit_concurrency=512, timeout_graceful_shutdown=5)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        service.close()


def _check(args: argparse.Namespace) -> None:
    for name, least in (("queue", 1), ("batch", 1), ("session_minutes", 0.01)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name)}: expected at least {least}")


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
