"""``nextgpt-lite demo``: the web page, on this machine only unless another host is given."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo.serving import running
from demo.serving.folders import lock, temporary_files_in, temporary_folder
from nextgpt_lite.commands.chat import add_weights
from nextgpt_lite.conversation_media import CHAT_ERRORS

if TYPE_CHECKING:
    from demo.engine.model_pool import ModelPool

ERRORS = CHAT_ERRORS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        help="small, nano or a model folder (default: small where its parts are, else nano); given again, a choice",
    )
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="offer every model folder in DIR as well")
    running.add_arguments(parser, 7860)
    add_weights(parser)
    help = "where conversations are kept; default: a folder of the user's for each port"
    parser.add_argument("--data", type=Path, metavar="DIR", help=help)
    help = "show the runs of train and evaluate in DIR at /runs; may be given again"
    parser.add_argument("--runs", type=Path, action="append", default=[], metavar="DIR", help=help)
    parser.add_argument("--time", action="store_true", help="print the seconds to the first token of a reply, and exit")


def run(args: argparse.Namespace) -> int:
    started, keys = time.perf_counter(), running.read_keys(args)
    if not running.is_loopback(args.host) and not keys:
        raise ValueError(
            f"--host {args.host} lets other machines in: give a password for them with --key-file FILE, "
            f"the variable {running.KEY_VARIABLE}, or --key"
        )
    with (
        running.listen(args.host, args.port) as listener,
        running.interrupted_by_signals(),
        data_folder(args) as folder,
    ):
        # Before gradio is imported: what is in "media" its server serves, and nothing else.
        os.environ |= {"GRADIO_TEMP_DIR": str(folder / "media"), "GRADIO_ANALYTICS_ENABLED": "False"}
        serve(args, keys, listener, folder, started)
    return 0


def serve(args: argparse.Namespace, keys: list[str], listener: socket.socket, folder: Path, started: float) -> None:
    """Open the page, load the model in the background; returns when interrupted. Errors of loading are raised."""
    from demo.engine.model_pool import ModelPool, models_in
    from demo.runs.pages import RunPages
    from nextgpt_lite.checkpoint import default_model

    runs = RunPages(args.runs) if args.runs else None
    found = models_in(args.models_dir) if args.models_dir else []
    models = [*(args.model or ([] if found else [default_model()])), *found]
    pool = ModelPool(models, args.weights)  # refuses a wrong name at once

    from demo.page.app import Page
    from demo.page.routes import application
    from demo.page.visitors import Visitors
    from nextgpt_lite.inspection.examples import write_examples

    visitors = Visitors(folder)
    page = Page(pool, visitors, write_examples(folder / "media" / "examples"), runs is not None)
    try:
        app = application(page, keys, running.allowed_hosts(args), runs)
        with running.serving(app, listener, grace=1) as thread:
            seconds = time.perf_counter() - started
            print(f"{running.address_of(listener)}/  (ready after {seconds:.1f} s; Ctrl-C ends)", flush=True)
            pool.wait()
            if args.time:
                print_latency(pool, started)
            else:
                thread.join()
    finally:
        visitors.close()
        pool.close()


@contextmanager
def data_folder(args: argparse.Namespace) -> Iterator[Path]:
    """The folder of the conversations, this process's own meanwhile; all else in it is deleted before and after.

    A browser knows its key by the port, so each port has a folder; that of any free port is temporary.
    """
    if not args.data and not args.port:
        with temporary_folder("nextgpt-lite-demo-") as folder:
            yield folder
        return
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    folder = (args.data or home / "nextgpt_lite" / f"demo-{args.port}").absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = lock(folder)
    if descriptor is None:
        raise ValueError(f"another demo keeps its conversations in {folder}: give another folder with --data")
    try:
        remove_temporary(folder)
        (folder / "temporary").mkdir()
        with temporary_files_in(folder / "temporary"):
            yield folder
    finally:
        remove_temporary(folder)
        os.close(descriptor)


def remove_temporary(folder: Path) -> None:
    """Delete everything of ours but the conversations."""
    shutil.rmtree(folder / "temporary", ignore_errors=True)
    for path in (folder / "media").glob("*"):
        if path.name != "conversations":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def print_latency(pool: ModelPool, started: float) -> None:
    """Print the latency of a first reply and of a second one, for which the model is warm."""
    print(f"model ready after {time.perf_counter() - started:.1f} s")
    engine = pool.engine()
    engine.warm_up().result()
    for name in ("first", "warm"):
        timings = engine.submit([{"role": "user", "content": "hello"}]).result().timings
        print(
            f"{name} reply: first token after {timings['first_token']:.2f} s, complete after {timings['total']:.2f} s"
        )
