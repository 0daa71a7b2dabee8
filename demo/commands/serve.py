"""``nextgpt-lite serve``: an OpenAI-compatible API."""

import argparse
import socket
from pathlib import Path

from demo.commands import demo
from demo.serving import running
from demo.serving.folders import temporary_folder
from nextgpt_lite.commands.chat import add_precision, add_weights

ERRORS = demo.ERRORS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="small, nano or a model folder (default: small where its parts are, else nano)")
    running.add_arguments(parser, 8000)
    add_weights(parser)
    add_precision(parser)
    parser.add_argument("--queue", type=int, default=64, help="most unfinished requests")
    parser.add_argument("--batch", type=int, default=8, help="replies whose text is generated together")
    parser.add_argument("--session-minutes", type=float, default=60.0, help="how long a client's unused files are kept")


def run(args: argparse.Namespace) -> int:
    from nextgpt_lite.checkpoint import default_model, read_manifest, resolve_model

    _check(args)
    args.model = args.model or default_model()
    read_manifest(resolve_model(args.model))  # refuses a wrong name at once
    keys = running.read_keys(args)
    with (
        running.listen(args.host, args.port) as listener,
        running.interrupted_by_signals(),
        temporary_folder("nextgpt-lite-serve-") as folder,
    ):
        serve(args, keys, listener, folder)
    return 0


def serve(args: argparse.Namespace, keys: list[str], listener: socket.socket, folder: Path) -> None:
    """Answer at ``listener`` until interrupted. The model loads in the background; /healthz tells when it is ready."""
    from demo.api.application import build
    from demo.api.service import Service
    from demo.api.sessions import Sessions
    from demo.engine.engine import Engine
    from demo.engine.model_pool import load, short_name

    held = {"weights": args.weights, "precision": args.precision, "offload": args.offload}
    engine = Engine(lambda: load(args.model, **held), queue_limit=args.queue, batch=args.batch)
    engine.warm_up()
    service = Service(engine, short_name(args.model), Sessions(args.session_minutes, folder=folder))
    try:
        with running.serving(build(service, keys=keys, hosts=running.allowed_hosts(args)), listener) as thread:
            print(f"{running.address_of(listener)}/v1  (Ctrl-C ends)", flush=True)
            if not running.is_loopback(args.host) and not keys:
                print(f"Caution: anyone who can reach {args.host} can use it; give a --key.", flush=True)
            thread.join()
    finally:
        service.close()


def _check(args: argparse.Namespace) -> None:
    for name, least in (("queue", 1), ("batch", 1), ("session_minutes", 0.01)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name)}: expected at least {least}")
