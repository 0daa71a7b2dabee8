"""``nextgpt-lite merge BASE ADAPTER --out DIR``: an adapter of long-context training becomes a whole language model."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", type=Path, help="folder of the causal language model that the adapter was trained on")
    parser.add_argument("adapter", type=Path, help="folder of the adapter")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new")
    parser.add_argument("--length", type=int, help="tokens it was trained on, where the adapter does not store them")
    parser.add_argument("--scaling", default="linear", help="linear, yarn or dynamic; with --length")


def run(arguments: argparse.Namespace) -> int:
    from adapters.long_context import context_length
    from nextgpt_lite.language_models import read_config
    from nextgpt_lite.long_context.merge import merge_adapter

    out = merge_adapter(arguments.base, arguments.adapter, arguments.out, arguments.length, arguments.scaling)
    print(f"{out}: {context_length(read_config(out))} positions")
    return 0
