"""What files of adapters in Meta's layout of Llama hold, name by name, by the sizes of their language model.

Shapes follow from the base; how many layers have prompts and how long these are follows from the file.
"""

import re
from collections.abc import Iterable

from nextgpt_lite.released_weights.base import Sizes
from nextgpt_lite.released_weights.files import Published, Shapes
from nextgpt_lite.released_weights.meta_llama import LINEARS, NORMS
from nextgpt_lite.weight_files import CheckpointError

#: Linears by the last part of their name: ``wq`` -> ``attention.wq``.
PLACES = {name.rpartition(".")[2]: name for name in LINEARS}
GATE = re.compile(r"(?:llama\.)?layers\.(\d+)\.attention\.gate")
#: The length of prompts in what was published.
PUBLISHED_LENGTH = 10
NAMED_SIZES = re.compile(r"len(\d+)_layer(\d+)")


def linear_shapes(sizes: Sizes, names: Iterable[str], ending: str, axis: int, prefix: str = "") -> Shapes:
    """Vectors beside linears in every layer: of length of the outputs (``axis`` 0) or of the inputs (1)."""
    return {
        f"{prefix}layers.{layer}.{PLACES[name]}{ending}": (sizes.linear(name)[axis],)
        for layer in range(sizes.layers)
        for name in names
    }


def lora_shapes(sizes: Sizes, rank: int, prefix: str = "") -> Shapes:
    """LoRA's two matrices of every linear."""
    shapes: Shapes = {}
    for layer in range(sizes.layers):
        for name, place in PLACES.items():
            (outputs, inputs), room = sizes.linear(name), place.partition(".")[0]
            own = f"{prefix}layers.{layer}.{room}.lora_{name}"
            shapes |= {f"{own}_l1.weight": (rank, inputs), f"{own}_l2.weight": (outputs, rank)}
    return shapes


def norm_shapes(sizes: Sizes, prefix: str = "") -> Shapes:
    """The norms of every layer, and the last."""
    layers = {f"{prefix}layers.{layer}.{norm}.weight" for layer in range(sizes.layers) for norm in NORMS}
    return dict.fromkeys(sorted({*layers, f"{prefix}norm.weight"}), (sizes.width,))


def gate_shapes(sizes: Sizes, published: Published, adapted: int, prefix: str = "") -> dict:
    """Gates of the last ``adapted`` layers: one a head, or in early files one number. Others may be there, unused."""
    every = range(sizes.layers)
    names = {layer: f"{prefix}layers.{layer}.attention.gate" for layer in every}
    unused = [layer for layer in every[: sizes.layers - adapted] if names[layer] in published.tensors]
    shapes = [(1, sizes.heads, 1, 1), (1, 1, 1, 1), (1,)]
    return {names[layer]: shapes for layer in (*unused, *every[sizes.layers - adapted :])}


def prompt_sizes(published: Published, sizes: Sizes, rows: int, length: int | None = None) -> tuple[int, int]:
    """(prompts of a layer, layers that have them) of ``rows`` stored prompts.

    The length is that which is given, else what the file's name says, what its gates say, or that of all published
    files. CheckpointError where these cannot be.
    """
    named = NAMED_SIZES.search(published.where)
    gates = {int(found[1]) for name in published.tensors if (found := GATE.fullmatch(name))}
    if length is None and named:
        length = int(named[1])
    elif length is None and 0 < len(gates) < sizes.layers and rows % len(gates) == 0:
        length = rows // len(gates)
    length = length or PUBLISHED_LENGTH
    where = f"{published.where}: 'adapter_query.weight' has {rows} rows"
    if named and rows != int(named[1]) * int(named[2]):
        raise CheckpointError(f"{where}, its name says {named[1]} in {named[2]} layers")
    if rows % length or not 0 < rows // length <= sizes.layers:
        raise CheckpointError(
            f"{where}, which are no prompts of length {length} in some of {sizes.layers} layers: give "
            "--set prompt_tokens=LENGTH"
        )
    return length, rows // length
