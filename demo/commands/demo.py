"""``nextgpt-lite demo``: the web page, on this machine only unless another host is given."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nextgpt_lite.conversation_media import CHAT_ERRORS

if TYPE_CHECKING:
    from demo.engine.model_pool import ModelPool

ERRORS = CHAT_ERRORS
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", action="append", help="nano, or a model folder; may be given again: the page then offers a choice"
    )
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="offer every model folder in DIR as well")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine only")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--time", action="store_true", help="print the seconds to the first token of a reply, and exit")


def run(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, so the folder below is deleted
    with tempfile.TemporaryDirectory(prefix="nextgpt-lite-demo-", dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        # Before gradio is imported: uploads and replies are kept in a folder that is deleted when the demo ends.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        serve(args, Path(folder))
    return 0


def serve(args: argparse.Namespace, folder: Path) -> None:
    """Open the page, load the model in the background; returns when interrupted. Errors of loading are raised."""
    from demo.engine.model_pool import ModelPool, models_in

    started = time.perf_counter()
    found = models_in(args.models_dir) if args.models_dir else []
    pool = ModelPool([*(args.model or ([] if found else ["nano"])), *found])  # refuses a wrong name at once

    from demo.page.app import Page, launch
    from demo.page.conversations import Visitors
    from nextgpt_lite.inspection.examples import write_examples

    visitors = Visitors()
    page = Page(pool, visitors, write_examples(folder))
    try:
        address = launch(page, args.host, args.port)
        print(f"{address}  (ready after {time.perf_counter() - started:.1f} s; Ctrl-C ends)", flush=True)
        if args.host not in LOOPBACK:
            print(
                f"Caution: anyone who can reach {args.host}:{args.port} can use it; there is no password.", flush=True
            )
        pool.wait()
        if args.time:
            print_latency(pool, started)
        else:
            page.blocks.block_thread()
    finally:
        page.blocks.close(verbose=False)
        visitors.close()
        pool.close()


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
