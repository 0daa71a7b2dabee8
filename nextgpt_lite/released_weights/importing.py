"""Published weights become a model folder that chats and that stages start from, or nothing is written.

A format is a function that fills a new folder from a :class:`Request`. What it writes is safetensors; files of PyTorch
are read as tensors alone.
"""

import importlib
from pathlib import Path

from data.atomic import atomic_folder, check_new_folder
from data.strict import nearest
from nextgpt_lite.checkpoint import write_manifest
from nextgpt_lite.released_weights.base import Request
from nextgpt_lite.released_weights.formats import FORMATS
from nextgpt_lite.weight_files import CheckpointError


def import_weights(name: str, request: Request, out: Path) -> str:
    """Write the model folder ``out``, which must be new, of weights in a published format; says what was made.

    CheckpointError or SettingsError, one sentence that names the key and both sides, for weights that do not fit the
    base, that are damaged, or that are no tensors.
    """
    if name not in FORMATS:
        raise CheckpointError(f"unknown format {name!r}{nearest(name, FORMATS)}")
    check_new_folder(out)
    chosen = FORMATS[name]
    build = getattr(importlib.import_module(f"nextgpt_lite.released_weights.{chosen.module}"), chosen.function)
    with atomic_folder(out) as temporary:
        build(request, temporary)
        if not (temporary / "core").is_dir():
            return f"{out}: a part for `nextgpt-lite compose`"
        manifest = write_manifest(temporary, out.resolve().name)
    return f"{out}: {', '.join(manifest['components'])}"
