"""LongLoRA's published adapters (2309.12307): LoRA beside whole embeddings and norms, merged into a language model.

The embeddings have a row more than the base where the code added a padding token.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.atomic import replace_folder
from data.strict import read_settings, setting
from nextgpt_lite.long_context.merge import LORA, WHOLE, merge_adapter
from nextgpt_lite.released_weights.base import Base, Request, open_base
from nextgpt_lite.released_weights.files import Published, named_file, read_file, shape_of
from nextgpt_lite.released_weights.peft_layout import CONFIG, PREFIX, lora_shapes, read_lora
from nextgpt_lite.released_weights.vocabulary import EMBEDDING, check_rows
from nextgpt_lite.weight_files import CheckpointError

PADDING = "[PAD]"
NORMS = ("input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True)
class Settings:
    """What the files do not say."""

    length: int | None = setting(None, low=1, help="tokens of the rows that it was trained on, such as 32768")
    scaling: str = setting("linear", choices=("linear", "yarn", "dynamic"), help="of positions")


def build(request: Request, folder: Path) -> None:
    """``adapter_model``, ``adapter_config.json`` and ``trainable_params``: a language model without an adapter."""
    settings = read_settings(Settings, request.settings, "longlora")
    paths = {
        "config": named_file(request.sources, CONFIG),
        **{name: named_file(request.sources, f"{name}.bin", f"{name}.safetensors") for name in (LORA, WHOLE)},
    }
    base = open_base(request, folder, "")
    _check(base, paths)
    base.place()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".adapter-") as place:
        for path in filter(None, paths.values()):
            (Path(place) / path.name).symlink_to(path.resolve())
        merged = folder / "merged"
        merge_adapter(base.language_model, Path(place), merged, settings.length, settings.scaling)
    replace_folder(merged, base.language_model)
    base.reread()
    tokenizer: Any = base.tokenizer
    if len(tokenizer) < base.config.vocab_size:
        tokenizer.add_special_tokens({"pad_token": PADDING})
        tokenizer.save_pretrained(folder / "tokenizer")
    base.write_core(base.text_fields(), {})


def _check(base: Base, paths: dict[str, Path | None]) -> None:
    """CheckpointError for an adapter that does not fit the base, key for key."""
    config, adapter, whole = (paths[name] for name in ("config", LORA, WHOLE))
    assert config is not None and adapter is not None and whole is not None  # they are required
    lora, found = read_lora(config), read_file(adapter)
    found.check(lora_shapes(base, lora), f"{base.needs} with the rank {lora.r} of {config}")
    trained = read_file(whole)
    trained.check(_whole_shapes(base, trained), base.needs)
    check_rows(trained.tensors[PREFIX + EMBEDDING], base, EMBEDDING, trained.where)


def _whole_shapes(base: Base, trained: Published) -> dict[str, Any]:
    """Norms and embeddings; one row more than the tokenizer has tokens is its padding."""
    name, width = PREFIX + EMBEDDING, base.sizes.width
    rows, _ = shape_of(trained, name, 2, "its rows are the vocabulary")
    if rows not in (base.rows, base.rows + 1):
        raise CheckpointError(
            f"{trained.where}: {name!r} has {rows:,} rows, the vocabulary of {base.source} has {base.rows:,}: expected "
            "as many, or one more for padding"
        )
    norms = [f"{PREFIX}model.layers.{layer}.{norm}.weight" for layer in range(base.sizes.layers) for norm in NORMS]
    return {name: (rows, width)} | dict.fromkeys([*norms, f"{PREFIX}model.norm.weight"], (width,))
