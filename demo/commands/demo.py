"""``nextgpt-lite demo``: the chat in a browser, on this machine only unless another host is given."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

from nextgpt_lite.commands.chat import ERRORS as CHAT_ERRORS

ERRORS = (*CHAT_ERRORS, OSError)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", action="append", help="nano, or a model folder; may be given again: the page then offers a choice"
    )
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="offer every model folder in DIR as well")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine only")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--time", action="store_true", help="print seconds to the first word of a first reply, and end")


def run(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: the folder below goes
    with tempfile.TemporaryDirectory(prefix="nextgpt-lite-demo-", dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        # Before gradio is imported: uploads and replies live in a folder that goes when the demo ends.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        serve(args, Path(folder))
    return 0


def serve(args: argparse.Namespace, folder: Path) -> None:
    """The page first, the model beside it; returns when interrupted. What keeps the model from loading is raised."""
    from demo.engine.model_pool import Shelf, models_in

    started = time.perf_counter()
    found = models_in(args.models_dir) if args.models_dir else []
    shelf = Shelf([*(args.model or ([] if found else ["nano"])), *found])  # a wrong name is said before anything starts

    from demo.page.app import Page, launch
    from demo.page.conversations import Visitors
    from nextgpt_lite.showcase import write_examples

    visitors = Visitors()
    page = Page(shelf, visitors, write_examples(folder))
    try:
        address = launch(page, args.host, args.port)
        print(f"{address}  (ready after {time.perf_counter() - started:.1f} s; Ctrl-C ends)", flush=True)
        if args.host not in LOOPBACK:
            print(f"Caution: whoever reaches {args.host}:{args.port} can use it; there is no password.", flush=True)
        shelf.wait()
        if args.time:
            print_first_words(shelf, started)
        else:
            page.blocks.block_thread()
    finally:
        page.blocks.close(verbose=False)
        visitors.close()
        shelf.close()


def print_first_words(shelf, started: float) -> None:
    """Ask twice: the first reply finds the model just loaded, the second finds it warm."""
    print(f"model ready after {time.perf_counter() - started:.1f} s")
    engine = shelf.engine()
    engine.warm_up().result()
    for name in ("first", "warm"):
        timings = engine.submit([{"role": "user", "content": "hello"}]).result().timings
        print(f"{name} reply: first word after {timings['first_token']:.2f} s, whole after {timings['total']:.2f} s")
