"""``nextgpt-lite export MODEL --out OUT``: plain folders of Transformers and Diffusers, or a file of llama.cpp."""

import argparse
from pathlib import Path

FORMATS = ("folders", "gguf", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="nano or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder or file to write; it must be new")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="folders",
        help="folders (default); gguf: the language model for llama.cpp; onnx: decoders",
    )
    parser.add_argument("--runs", type=Path, help="folder of the run folders that made it, for the model card")
    parser.add_argument("--scores", type=Path, help="results.json of nextgpt-lite evaluate, for the model card")
    parser.add_argument(
        "--dtype",
        default="float32",
        help="of the language model: float32 (exact, default), float16, bfloat16, or q8_0 in gguf",
    )


def run(arguments: argparse.Namespace) -> int:
    from nextgpt_lite.checkpoint import resolve_model  # takes seconds to import: --help should not wait
    from nextgpt_lite.export.folders import export_model

    folder = resolve_model(arguments.model)
    if arguments.format == "gguf":
        from nextgpt_lite.export.gguf import export_gguf

        exported = export_gguf(folder, arguments.out, arguments.dtype)
    elif arguments.format == "onnx":
        from nextgpt_lite.export.onnx import export_onnx

        exported = export_onnx(folder, arguments.out)
    else:
        exported = export_model(folder, arguments.out, arguments.dtype, arguments.runs, arguments.scores)
    print(f"{arguments.out}: {', '.join(sorted(exported.components))}")
    for note in exported.notes:
        print(note)
    return 0
