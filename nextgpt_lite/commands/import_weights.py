"""``nextgpt-lite import-weights FORMAT SOURCE... --base DIR --out DIR``: published weights become a model folder."""

import argparse
from pathlib import Path

from nextgpt_lite.released_weights.formats import FORMATS

WORDS = "sources"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = [f"  {name:22} {each.files}" for name, each in FORMATS.items()]
    parser.epilog = "\n".join(["formats:", *lines])
    parser.add_argument("format", metavar="FORMAT", help="of the published files, see below")
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="files, or folders that hold them")
    parser.add_argument("--base", type=Path, help="folder of the language model, or one of `nextgpt-lite compose`")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new or empty")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="what the files do not say, by format"
    )
    parser.add_argument("--copy", action="store_true", help="copy the base's files in place of linking them")


def run(arguments: argparse.Namespace) -> int:
    from transformers.utils import logging

    from nextgpt_lite.released_weights.base import Request  # takes seconds to import: --help should not wait
    from nextgpt_lite.released_weights.importing import import_weights

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what does not fit is said in one sentence
    sources = tuple(Path(source) for source in arguments.sources)
    request = Request(sources, arguments.base, _settings(arguments.set), arguments.copy)
    print(import_weights(arguments.format, request, arguments.out))
    return 0


def _settings(words: list[str]) -> dict[str, object]:
    from data.strict_yaml import parse_yaml

    settings: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"--set {word!r} must be NAME=VALUE")
        settings[name] = parse_yaml(text, f"--set {name}")
    return settings
