"""Meta's own Llama, ``consolidated.*.pth`` with ``params.json``, as a language model of Transformers."""

from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from transformers import LlamaConfig

from data.strict import read_json, read_settings, setting
from nextgpt_lite.compose.composition import Composition, Part
from nextgpt_lite.released_weights.base import Base, Request, Sizes
from nextgpt_lite.released_weights.files import (
    Published,
    Shapes,
    Tensors,
    named_file,
    shape_of,
    weight_files,
)
from nextgpt_lite.released_weights.llama_layout import PLACES, norm_shapes
from nextgpt_lite.released_weights.meta_llama import BUFFERS, read_shards, translate
from nextgpt_lite.weight_files import CheckpointError

TOKENIZER = ("tokenizer.json", "tokenizer.model")
#: Bytes of one file of the language model that is written.
SHARD = "5GB"


@dataclass(frozen=True)
class Params:
    """What a ``params.json`` may hold."""

    dim: int = setting(low=1)
    n_layers: int = setting(low=1)
    n_heads: int = setting(low=1)
    n_kv_heads: int | None = setting(None, low=1)
    norm_eps: float = setting(1e-5, above=0)
    rope_theta: float = setting(10_000.0, above=0)
    vocab_size: int = setting(-1)
    multiple_of: int = setting(256, low=1)
    ffn_dim_multiplier: float | None = setting(None, above=0)
    max_seq_len: int | None = setting(None, low=1)
    use_scaled_rope: bool = setting(False)

    def __post_init__(self) -> None:
        if self.use_scaled_rope:
            raise ValueError("use_scaled_rope is true: positions of Llama 3.1 and later are not read from this layout")
        if self.dim % self.n_heads or (self.n_kv_heads and self.n_heads % self.n_kv_heads):
            raise ValueError(f"dim {self.dim}, n_heads {self.n_heads} and n_kv_heads {self.n_kv_heads} do not divide")

    @property
    def inner_width(self) -> int:
        """Of the feed-forward, by Meta's rule."""
        inner = int(2 * 4 * self.dim / 3)
        if self.ffn_dim_multiplier is not None:
            inner = int(self.ffn_dim_multiplier * inner)
        return self.multiple_of * -(-inner // self.multiple_of)

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.dim, self.n_layers, self.n_heads, self.n_kv_heads or self.n_heads, self.inner_width)


@dataclass(frozen=True)
class Settings:
    """What the files do not say."""

    positions: int = setting(2048, low=1, help="that the model was trained on: 2048 of Llama, 4096 of Llama 2")


def build(request: Request, folder: Path) -> None:
    """A model folder whose core reads and writes words; its ``language_model`` is a base for adapters.

    ``--base`` is a folder with the tokenizer, where that is not beside the weights.
    """
    settings = read_settings(Settings, request.settings, "meta_llama")
    path = named_file(request.sources, "params.json")
    assert path is not None  # it is required
    params = read_settings(Params, read_json(path), str(path))
    paths = weight_files(request.sources)
    published = Published(f"{paths[0]}" + (f" and {len(paths) - 1} more" if paths[1:] else ""), read_shards(paths))
    published = Published(published.where, {n: v for n, v in published.tensors.items() if n not in BUFFERS})
    rows = _check(published, params, path)
    place = folder / "converted"
    _write(published, params, rows, settings.positions, place)
    parts = {"language_model": Part(str(place)), "tokenizer": Part(str(_tokenizer(request)))}
    base = Base(folder, path.parent, Composition({**parts}))
    base.place()
    for file in sorted((folder / "language_model").iterdir()):
        file.unlink()
        (place / file.name).rename(file)
    place.rmdir()
    base.write_core(base.text_fields(), {})


def _check(published: Published, params: Params, path: Path) -> int:
    """Rows of the vocabulary. CheckpointError where the weights are not those that ``params.json`` speaks of."""
    sizes, needs = params.sizes, f"as {path} says it"
    rows, _ = shape_of(published, "tok_embeddings.weight", 2, "its rows are the vocabulary")
    if params.vocab_size not in (-1, rows):
        raise CheckpointError(
            f"{published.where}: 'tok_embeddings.weight' has {rows:,} rows, vocab_size in {path} is "
            f"{params.vocab_size:,}"
        )
    shapes: Shapes = norm_shapes(sizes) | dict.fromkeys(("tok_embeddings.weight", "output.weight"), (rows, sizes.width))
    for layer in range(sizes.layers):
        shapes |= {f"layers.{layer}.{place}.weight": sizes.linear(name) for name, place in PLACES.items()}
    published.check(shapes, needs)
    return rows


def _write(published: Published, params: Params, rows: int, positions: int, folder: Path) -> None:
    sizes = params.sizes
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=sizes.width,
        intermediate_size=sizes.inner_width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_heads,
        rms_norm_eps=params.norm_eps,
        max_position_embeddings=params.max_seq_len or positions,
        rope_parameters={"rope_type": "default", "rope_theta": params.rope_theta},
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype=published.tensors["output.weight"].dtype,
    )
    state: Tensors = translate(
        published.tensors, layers=sizes.layers, heads=sizes.heads, key_value_heads=sizes.key_value_heads
    )
    own: dict[str, torch.Tensor] = {n.removeprefix("language_model."): value.contiguous() for n, value in state.items()}
    config.save_pretrained(folder)
    save_torch_state_dict(own, folder, max_shard_size=SHARD, metadata={"format": "pt"})


def _tokenizer(request: Request) -> Path:
    """The folder that has the tokenizer: the base given, or that of the weights, or the one above, as Meta has it."""
    places = [*([request.base] if request.base else []), *request.sources]
    places += [place.parent for place in request.sources]
    found = next((each for each in places if any((each / name).is_file() for name in TOKENIZER)), None)
    if found is None:
        looked_at = ", ".join(map(str, dict.fromkeys(places)))
        raise CheckpointError(f"there is no {' or '.join(TOKENIZER)} in {looked_at}: give --base FOLDER, which has it")
    return found
