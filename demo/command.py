"""``nextgpt-lite demo``: the chat in a browser, on this machine only unless another host is given."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

from nextgpt_lite.chat_command import ERRORS as CHAT_ERRORS

ERRORS = (*CHAT_ERRORS, OSError)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="nano", help="nano, or a model folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine only")
    parser.add_argument("--port", type=int, default=7860)


def run(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: the folder below goes
    with tempfile.TemporaryDirectory(prefix="nextgpt-lite-demo-", dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        # Before gradio is imported: uploads and replies live in a folder that goes when the demo ends.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        serve(args, Path(folder))
    return 0


def serve(args: argparse.Namespace, folder: Path) -> None:
    """The page first, the model beside it; returns when interrupted. What keeps the model from loading is raised."""
    from nextgpt_lite.checkpoint import read_manifest, resolve_model

    started = time.perf_counter()
    read_manifest(resolve_model(args.model))  # a wrong name is said before anything starts

    from demo.talker import Talker

    talker = Talker(lambda: load(args.model))

    from demo.app import build, launch
    from nextgpt_lite.showcase import write_examples

    page = build(talker, write_examples(folder))
    try:
        address = launch(page, args.host, args.port)
        print(f"{address}  (ready after {time.perf_counter() - started:.1f} s; Ctrl-C ends)", flush=True)
        if args.host not in LOOPBACK:
            print(f"Caution: whoever reaches {args.host}:{args.port} can use it; there is no password.", flush=True)
        talker.model.result()
        page.block_thread()
    finally:
        page.close(verbose=False)
        talker.close()


def load(name: str):
    """The model; in its own thread, so that the page does not wait."""
    import diffusers
    import transformers

    from nextgpt_lite import AnyToAny

    for library in (diffusers, transformers):  # their bars for each file say nothing to who opens a page
        library.utils.logging.disable_progress_bar()
    return AnyToAny.from_pretrained(name)
