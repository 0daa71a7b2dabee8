"""Whether published weights belong to the base: rows of a vocabulary, norms. A vocabulary that grew, in the base."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data.atomic import write_json
from data.strict import read_json
from nextgpt_lite.released_weights.base import Base
from nextgpt_lite.released_weights.files import Tensors
from nextgpt_lite.weight_files import CheckpointError, read_tensors

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
#: Least correlation of published rows with those of the base that they were trained from. Tuning leaves it near 1;
#: the rows of another model, of the same shape too, have one near 0.
MIN_CORRELATION = 0.5
#: How many rows, evenly taken, are compared.
SAMPLE = 2048
#: The same of norms, which are few numbers near each other, so that tuning blurs them more.
MIN_NORM_CORRELATION = 0.2
NORM = "model.layers.{}.input_layernorm.weight"


def check_rows(rows: torch.Tensor, base: Base, name: str, where: str) -> None:
    """CheckpointError where published ``rows`` (V, D), named as an embedding or as output rows, are of another base."""
    own = stored_tensor(base.language_model, EMBEDDING if "embed" in name else OUTPUT)
    if own is None:  # output and input are one
        own = stored_tensor(base.language_model, EMBEDDING)
    if own is None or own.shape[1:] != rows.shape[1:]:
        return
    count = min(len(own), len(rows))
    step = max(1, count // SAMPLE)
    pair = torch.stack([each[:count:step].float().flatten() for each in (own, rows)])
    found = float(torch.corrcoef(pair)[0, 1])
    if not found >= MIN_CORRELATION:
        raise CheckpointError(
            f"{where}: {name!r} was trained from another language model than the one in {base.source}: their rows have "
            f"a correlation of {found:.2f}, expected at least {MIN_CORRELATION}"
        )


def check_norms(tensors: Tensors, base: Base, where: str, prefix: str = "") -> None:
    """CheckpointError where the tuned norms of layers among ``tensors``, of Meta's names, are those of another base."""
    found = []
    for layer in range(base.sizes.layers):
        own, tuned = stored_tensor(base.language_model, NORM.format(layer)), _norm(tensors, layer, prefix)
        if own is not None and own.shape == tuned.shape and min(own.float().std(), tuned.float().std()) > 0:
            found.append(float(torch.corrcoef(torch.stack([own.float(), tuned.float()]))[0, 1]))
    if found and (mean := sum(found) / len(found)) < MIN_NORM_CORRELATION:
        raise CheckpointError(
            f"{where} was trained from another language model than the one in {base.source}: their norms have a "
            f"correlation of {mean:.2f}, expected at least {MIN_NORM_CORRELATION}"
        )


def _norm(tensors: Tensors, layer: int, prefix: str) -> torch.Tensor:
    return tensors[f"{prefix}layers.{layer}.attention_norm.weight"]


def stored_tensor(folder: Path, name: str) -> torch.Tensor | None:
    """A weight of the model in ``folder``, read from whichever of its files has it; None where none has."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if name in set(file.keys()):
                return file.get_tensor(name)
    for path in sorted(folder.glob("pytorch_model*.bin")):
        if (value := read_tensors(path).get(name)) is not None:
            return value
    return None


def replace_tensors(folder: Path, new: Tensors, **config: Any) -> None:
    """Put tensors in the place of a model's own, in its folder of links: files that hold none of them stay links.

    ``config`` are changes of its ``config.json``. The tensors take the type of those that they replace.
    """
    if absent := [name for name in new if stored_tensor(folder, name) is None]:
        raise CheckpointError(f"the language model has no {absent[0]!r} of its own, which published weights replace")
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            held = new.keys() & set(file.keys())
        if held:
            state = load_file(path)
            state |= {name: new[name].to(state[name].dtype).contiguous() for name in held}
            path.unlink()
            save_file(state, path, {"format": "pt"})
    values = read_json(folder / "config.json") | config
    (folder / "config.json").unlink()
    write_json(folder / "config.json", values)
