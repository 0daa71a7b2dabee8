"""``nextgpt-lite export MODEL --out DIR``: a model's parts as plain folders of transformers and diffusers."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="nano or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new")
    parser.add_argument("--runs", type=Path, help="folder of the run folders that made it, for the model card")
    parser.add_argument("--scores", type=Path, help="results.json of nextgpt-lite evaluate, for the model card")
    parser.add_argument(
        "--dtype", default="float32", help="of the language model: float32 (exact, default), float16 or bfloat16"
    )


def run(arguments: argparse.Namespace) -> int:
    from nextgpt_lite.checkpoint import resolve_model  # takes seconds to import: --help should not wait
    from nextgpt_lite.export.folders import export_model

    folder = resolve_model(arguments.model)
    exported = export_model(folder, arguments.out, arguments.dtype, arguments.runs, arguments.scores)
    print(f"{arguments.out}: {', '.join(sorted(exported.components))}")
    for note in exported.notes:
        print(note)
    return 0
