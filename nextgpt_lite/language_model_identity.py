"""Which language model a core was made for, by a few of its weights: the same in any precision that it is saved in."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from nextgpt_lite.weight_files import CheckpointError, require_folder

#: How many weights are compared, and by what share and how much they may differ: bfloat16 keeps one part in 256, and
#: float16 what is above its least number.
SAMPLES, SHARE, LEAST = 32, 2**-8, 2**-23


def sample_weights(folder: Path) -> dict[str, float]:
    """Of matrices in its layers, evenly chosen by name, the value in the middle; {} for a folder without safetensors.

    Embeddings and output layers are left out: they may be tied or gain rows.
    """
    matrices = _matrices(folder)
    names = sorted(name for name in matrices if any(part.isdigit() for part in name.split(".")))
    chosen = [names[number * len(names) // SAMPLES] for number in range(SAMPLES)] if names else []
    found = {name: _middle(matrices[name], name) for name in dict.fromkeys(chosen)}
    return {name: value for name, value in found.items() if value is not None}


def check_language_model_identity(expected: dict[str, float], folder: Path) -> None:
    """CheckpointError where the language model in ``folder`` is not the one whose weights are ``expected``."""
    require_folder(folder, "language model")
    matrices = _matrices(folder) if expected else {}
    for name, value in expected.items():
        found = _middle(matrices[name], name) if name in matrices else None
        if found is None or abs(found - value) > SHARE * abs(value) + LEAST:
            there = "missing" if found is None else f"{found:.6g}"
            raise CheckpointError(
                f"the core was trained on another language model than the one in {folder}: {name} is {there} there, "
                f"expected {value:.6g}: put the former back, or train a core on this one"
            )


def _matrices(folder: Path) -> dict[str, Path]:
    """Every matrix of a folder's safetensors and the file that holds it."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                found |= {name: path for name in file.keys() if len(file.get_slice(name).get_shape()) == 2}  # noqa: SIM118
        except (OSError, SafetensorError):
            continue  # whoever reads the weights says what is wrong with the file
    return found


def _middle(path: Path, name: str) -> float | None:
    """The value in the middle of a matrix; None where it holds no fractions, as packed weights."""
    with safe_open(path, "pt") as file:
        matrix = file.get_slice(name)
        row, column = (length // 2 for length in matrix.get_shape())
        value = matrix[row : row + 1, column : column + 1]
    return float(value) if torch.is_floating_point(value) and value.numel() else None
