"""``nextgpt-lite compose [FILE.yaml] [part=FOLDER]... --out DIR``: a model folder out of parts on disk."""

import argparse
from pathlib import Path

WORDS = "parts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = "language_model=FOLDER, encoder=FOLDER, image_decoder=FOLDER and so on; a YAML file may come first"
    parser.add_argument("parts", nargs="+", metavar="part=FOLDER", help=words)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new or empty")
    parser.add_argument("--copy", action="store_true", help="copy the parts' files in place of linking them")


def run(arguments: argparse.Namespace) -> int:
    from transformers.utils import logging

    from nextgpt_lite.compose.composition import read_composition  # takes seconds to import: --help should not wait
    from nextgpt_lite.compose.folder import compose

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what does not fit is said in one sentence
    for part in compose(read_composition(arguments.parts), arguments.out, arguments.copy):
        print(f"{part.component:16} {part.kind:28} {part.size / 1e6:10,.1f} MB  {part.path}")
    print(
        f"{arguments.out}: to train a projector: nextgpt-lite train train/recipes/projector.yaml model={arguments.out}"
    )
    return 0
