"""Packed weights: rows of matrices as int8 times a scale, half the size of half precision, for what is carried about.

    name           int8, the shape that it has
    name::scale    float32 (rows,)

Diffusers and Transformers read floats, so a packed component is unpacked once, into the cache folder, and read there.
What two components have in common lies in one of them: ``shared.json`` of the other names folders or files, {name:
path}.
"""

import hashlib
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from data.atomic import atomic_file, atomic_folder
from data.parts import PartError, cache_folder
from data.strict import read_json
from nextgpt_lite.weight_files import CheckpointError

SCALE = "::scale"
#: What the header of a packed file says.
MARK = {"format": "pt", "packed": "int8"}
SHARED = "shared.json"
#: Tensors with fewer numbers stay as they are.
LEAST = 4096


def pack_folder(folder: Path) -> None:
    """Pack every safetensors file below ``folder``, in place."""
    for path in sorted(folder.rglob("*.safetensors")):
        if not is_packed_file(path):
            packed = pack(load_file(path))
            with atomic_file(path) as temporary:
                save_file(packed, temporary, MARK)


def unpacked_folder(folder: Path, identity: str) -> Path:
    """``folder``, or where it is packed a copy with floats, in the cache folder under its ``identity``.

    CheckpointError where the copy cannot be written.
    """
    if not any(is_packed_file(path) for path in folder.rglob("*.safetensors")):
        return folder
    try:
        target = cache_folder() / "unpacked" / f"{folder.name}-{_with_shared(folder, identity)[:16]}"
        if not target.is_dir():
            with atomic_folder(target) as temporary:
                _unpack_into(folder, temporary)
    except (OSError, PartError) as error:
        raise CheckpointError(f"{folder} is packed, and there is no place to unpack it: {error}") from error
    return target


def _with_shared(folder: Path, identity: str) -> str:
    """The identity of a folder together with what it shares, which may change by itself."""
    digest = hashlib.sha256(identity.encode())
    for source in _shared(folder).values():
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _shared(folder: Path) -> dict[str, Path]:
    """Name in ``folder`` -> the file or folder of another component that is to lie there. CheckpointError for others'
    files."""
    sources = {}
    for name, path in (read_json(folder / SHARED) if (folder / SHARED).is_file() else {}).items():
        sources[name] = (folder / path).resolve()
        if folder.resolve().parent not in sources[name].parents:
            raise CheckpointError(f"{folder / SHARED}: {name} must lie in the model's own folder, not at {path!r}")
    return sources


def _unpack_into(folder: Path, target: Path) -> None:
    shutil.copytree(folder, target, dirs_exist_ok=True)
    for name, source in _shared(folder).items():
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target / name)
    for path in sorted(target.rglob("*.safetensors")):
        if is_packed_file(path):
            save_file(unpack(load_file(path)), path, {"format": "pt"})


def is_packed_file(path: Path) -> bool:
    """Whether the header of a safetensors file says so."""
    try:
        with safe_open(path, "pt") as opened:
            return (opened.metadata() or {}).get("packed") == MARK["packed"]
    except (SafetensorError, OSError):  # damaged: whoever reads it says so
        return False


def pack(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Floats of two axes or more as int8 and a scale for each row, the largest number of a row being 127 of them."""
    packed = {}
    for name, value in tensors.items():
        if value.ndim < 2 or value.numel() < LEAST or not value.is_floating_point():
            packed[name] = value.contiguous()
            continue
        rows = value.float().flatten(1)
        scale = rows.abs().amax(1).clamp_min(1e-12) / 127
        packed[name] = (rows / scale[:, None]).round().to(torch.int8).view(value.shape)
        packed[name + SCALE] = scale
    return packed


def unpack(packed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What :func:`pack` was given, in half precision, to half a scale."""
    tensors = {}
    for name, value in packed.items():
        if name + SCALE in packed:
            tensors[name] = (value.float().flatten(1) * packed[name + SCALE][:, None]).view(value.shape).half()
        elif not name.endswith(SCALE):
            tensors[name] = value
    return tensors
