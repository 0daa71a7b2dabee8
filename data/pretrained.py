"""Models of Transformers, read whole or not at all: of a weight that is missing Transformers would make one up."""

from pathlib import Path
from typing import Any

from data.strict import sentence


def load_whole(kind: Any, folder: Path, what: str, **options: Any) -> Any:
    """``kind.from_pretrained`` of a folder on disk. ValueError, which names ``what`` it is, where weights are missing,
    damaged or of another shape."""
    checks = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        model, found = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, **checks, **options)
    except Exception as error:  # whatever Transformers raises of a file that it cannot use
        raise ValueError(f"{folder}: the {what} cannot be read: {sentence(error)}") from error
    if found["missing_keys"]:
        raise ValueError(f"{folder} lacks the weight {min(found['missing_keys'])!r} of the {what}")
    for name, given, expected in sorted(found["mismatched_keys"]):
        raise ValueError(f"{folder}: {name!r} has shape {tuple(given)}, config.json says {tuple(expected)}")
    return model
