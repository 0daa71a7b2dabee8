"""Files of a converted part: the same values always give the same bytes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """A safetensors file of torch tensors."""
    from safetensors.torch import save  # it imports torch, which takes seconds: what is only copied does without

    path.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, {"format": "pt"}))


def write_object(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
