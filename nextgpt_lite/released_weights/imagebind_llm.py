"""ImageBind-LLM's published weights (2309.03905), ``7B.pth``, and its visual cache, ``knn.index``; ImageBind itself."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from adapters.imagebind_llm import own_name
from adapters.visual_cache import KINDS, VisualCache
from data.strict import read_settings, setting
from encoders.media_encoder import MediaEncoder
from nextgpt_lite.released_weights.base import Base, NoSettings, Request, open_base
from nextgpt_lite.released_weights.files import (
    Published,
    Tensors,
    named_file,
    only_file,
    read_file,
    shape_of,
    weight_files,
)
from nextgpt_lite.released_weights.flat_index import read_flat_index
from nextgpt_lite.released_weights.llama_adapter import BIASED, tuned_fields
from nextgpt_lite.released_weights.llama_layout import gate_shapes, linear_shapes, lora_shapes, norm_shapes
from nextgpt_lite.released_weights.meta_llama import translate
from nextgpt_lite.released_weights.vocabulary import check_norms
from nextgpt_lite.weight_files import CheckpointError, check_floats

#: What some files carry besides: ImageBind, which is a part of its own, and a projector that nothing reads.
UNUSED = ("image_bind.", "prefix_projector")
QUERY, BIND = "prefix_query.weight", "image_bind_"
BLOCK = re.compile(r"image_bind_f1_(\d+)\.weight")


@dataclass(frozen=True)
class CacheSettings:
    """Of the visual cache that a ``knn.index`` becomes."""

    cache: str = setting("exact", choices=KINDS, help="exact to about 300,000 vectors; the others need faiss")


def build_llm(request: Request, folder: Path) -> None:
    """Bind network, a query and gates a layer, and of tuned weights biases, norms and LoRA."""
    settings = read_settings(CacheSettings, request.settings, "imagebind_llm")
    base = open_base(request, folder, "alpaca")
    given = read_file(only_file(request.sources)).renamed({"llma.": "llama."})
    published = replace(given, tensors={n: v for n, v in given.tensors.items() if not n.startswith(UNUSED)})
    where, sizes = published.where, base.sizes
    bind, expected = _bind_shapes(published, base)
    layers, _ = shape_of(published, QUERY, 2, "its rows are the queries of the layers that see media")
    if layers > sizes.layers:
        raise CheckpointError(
            f"{where}: {QUERY!r} has {layers} rows, the language model in {base.source} has {sizes.layers} layers"
        )
    expected |= {QUERY: (layers, sizes.width)} | gate_shapes(sizes, published, layers, "llama.")
    tuned = [name for name in published.part("llama.") if not name.endswith(".gate")]
    rank = _rank(published)
    if tuned:
        expected |= linear_shapes(sizes, BIASED, ".bias", 0, "llama.") | norm_shapes(sizes, "llama.")
        expected |= lora_shapes(sizes, rank, "llama.") if rank else {}
    published.check(expected, f"{base.needs} with LoRA of rank {rank}" if rank else base.needs)
    if tuned:
        check_norms(published.tensors, base, where, "llama.")
    fields = base.media_fields(bind.pop("embedding_width"), where) | tuned_fields(bool(tuned), rank)
    prompts = {"media_tokens": 1, "media_layers": layers, "media_last": True, "reach": "row"}
    base.write_core(fields | {"input_tokens": 0, "prompts": prompts, "bind": bind}, _own(published, base, layers))
    if index := named_file(request.sources, "knn.index", required=False):
        write_cache(base, index, settings.cache)


def write_cache(base: Base, index: Path, kind: str) -> None:
    """The vectors of a flat index as the visual cache of the model, with the paper's settings."""
    vectors = read_flat_index(index, base.encoder.width)
    VisualCache(vectors, kind=kind).save(base.folder / "cache", base.encoder.identity)


def build_encoder(request: Request, folder: Path) -> None:
    """``imagebind_huge.pth``, with a checkpoint of Point-BERT beside it or without: the folder of an encoder."""
    read_settings(NoSettings, request.settings, "imagebind_huge")
    if request.base is not None:
        raise CheckpointError(f"imagebind_huge is a part and goes on no base: --base {request.base} is not needed")
    paths = weight_files(request.sources)
    towers = [path for path in paths if any("modality_" in name for name in read_file(path).tensors)] or paths[:1]
    points = [path for path in paths if path not in towers]
    if len(towers) != 1 or len(points) > 1:
        found = ", ".join(path.name for path in paths)
        raise CheckpointError(f"expected imagebind_huge.pth and at most one checkpoint of Point-BERT, not {found}")
    for path in paths:
        for name, value in read_file(path).tensors.items():
            if not name.endswith(("num_batches_tracked", ".mask")):  # a count, and a mask of infinities
                check_floats(name, value, path)
    MediaEncoder.from_imagebind(towers[0], points[0] if points else None).save_pretrained(folder)


def _bind_shapes(published: Published, base: Base) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the bind network as the file's own sizes say them, with its embedding width; and its shapes."""
    width = base.sizes.width
    _, embedding = shape_of(published, f"{BIND}proj.weight", 2, "its columns are the encoder's width")
    inner, _ = shape_of(published, f"{BIND}f1_1.weight", 2, "its rows are the inner width of the bind network")
    blocks = max(int(found[1]) for name in published.tensors if (found := BLOCK.fullmatch(name)))
    legacy = f"{BIND}f1_1.bias" in published.tensors
    shapes: dict[str, Any] = {f"{BIND}proj.weight": (width, embedding), f"{BIND}proj.bias": (width,)}
    for number in range(1, blocks + 1):
        shapes[f"{BIND}norm_{number}.weight"] = (width,)
        for name, outputs, inputs in (("f1", inner, width), ("f2", width, inner), ("f3", inner, width)):
            shapes[f"{BIND}{name}_{number}.weight"] = (outputs, inputs)
            shapes |= {f"{BIND}{name}_{number}.bias": (outputs,)} if legacy else {}
        shapes |= {f"{BIND}norm_{number}.bias": (width,)} if legacy else {}
    settings: dict[str, Any] = {"inner_width": inner, "blocks": blocks, "form": "legacy" if legacy else "rms"}
    return settings | {"embedding_width": embedding}, shapes


def _rank(published: Published) -> int:
    """The rank of LoRA, 0 where there is none: that of the first of its matrices."""
    first = next((name for name in published.tensors if name.endswith("_l1.weight")), "")
    return shape_of(published, first, 2, "its rows are the rank of LoRA")[0] if first else 0


def _own(published: Published, base: Base, layers: int) -> Tensors:
    """The core's names."""
    sizes, tensors = base.sizes, published.tensors
    gate = "llama.layers.{}.attention.gate".format
    gates = [tensors[gate(layer)].flatten().expand(sizes.heads) for layer in range(sizes.layers - layers, sizes.layers)]
    llama = {name: value for name, value in published.part("llama.").items() if not name.endswith(".gate")}
    own = translate(llama, layers=sizes.layers, heads=sizes.heads, key_value_heads=sizes.key_value_heads)
    own |= {f"bind_network.{own_name(name)}": value for name, value in published.part(BIND).items()}
    own["gated_prompts.media_gate"] = torch.stack(gates)
    own["gated_prompts.layer_query"] = tensors[QUERY][:, None]
    return own
