"""NExT-GPT's published weights (2309.05519): the first release's one file, the newest code's several.

Both bring whole embeddings and output rows, which end in the rows of the signal tokens. Those go into the core, the
others into a language model of the folder's own where they differ from the base's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adapters.output_projection import LEGACY_NAMES
from data.strict import read_settings, setting
from nextgpt_lite.checkpoint import Decoders
from nextgpt_lite.config import SIGNALS, CoreConfig
from nextgpt_lite.released_weights.base import Base, Request, place_base
from nextgpt_lite.released_weights.files import Published, Tensors, check_tensors, named_file, only_file, read_file
from nextgpt_lite.released_weights.peft_layout import CONFIG, PREFIX, Lora, lora_shapes, lora_tensors, read_lora
from nextgpt_lite.released_weights.projections import input_sizes, output_sizes, projection_shapes
from nextgpt_lite.released_weights.vocabulary import EMBEDDING, OUTPUT, check_rows, replace_tensors
from nextgpt_lite.weight_files import CheckpointError

#: Beginnings of names -> those that are used here: of the newest code, with LoRA around it or not.
NEWEST = {f"{PREFIX}model.": "model.", f"{PREFIX}lm_head.": "lm_head."}
INPUT = "model.mm_input_projector."
OUTPUTS = {"image": "model.mm_output_img_projector.", "video": "model.mm_output_vid_projector.",
           "audio": "model.mm_output_aud_projector."}  # fmt: skip
#: The same of the first release.
LEGACY_MODEL = "llama_model.base_model.model."
LEGACY = {LEGACY_MODEL: PREFIX, "llama_proj.": INPUT}
LEGACY_OUTPUTS = {"image": "gen_text_hidden_fcs.0.", "video": "gen_text_hidden_fcs_video.0.",
                  "audio": "gen_text_hidden_fcs_audio.0."}  # fmt: skip
#: Tokens that the first release has around media, before its signal tokens.
AROUND = ["<Img>", "</Img>"]
MEDIA = ["image", "video", "audio"]


@dataclass(frozen=True)
class Settings:
    """What no file says: heads leave no trace in shapes, and the first release does not store LoRA's alpha."""

    input_heads: int = setting(8, low=1, help="of the grouping input projection")
    output_heads: int = setting(4, low=1, help="of the output projections; 12 of the Q-Former")
    lora_alpha: float | None = setting(None, above=0, help="of the first release's LoRA; its rank, as its code has it")


def build_legacy(request: Request, folder: Path) -> None:
    """``pytorch_model.pt`` of the first release: one embedding a medium, LoRA, embeddings, output projections."""
    settings = read_settings(Settings, request.settings, "nextgpt_legacy")
    base = place_base(request, folder, "nextgpt_legacy")
    base.end_at("###")
    published = read_file(only_file(request.sources)).renamed(
        LEGACY | {v: OUTPUTS[k] for k, v in LEGACY_OUTPUTS.items()}
    )
    published = _newest_ends(published)
    lora = _stored_lora(published, settings.lora_alpha)
    _build(base, [published], settings, lora, AROUND, ".default")


def build_newest(request: Request, folder: Path) -> None:
    """``mm_input_projector.bin``, ``mm_output_projector.bin``, ``non_lora_trainables.bin``, and LoRA as peft has it.

    What a later stage saved again stands in the last of them, and counts.
    """
    settings = read_settings(Settings, request.settings, "nextgpt")
    base = place_base(request, folder, "vicuna")
    names = ("mm_input_projector", "mm_output_projector", "non_lora_trainables", "adapter_model")
    paths = [named_file(request.sources, f"{name}.bin", f"{name}.safetensors", required=False) for name in names]
    if not any(paths):
        raise CheckpointError(f"{', '.join(map(str, request.sources))}: there is none of {', '.join(names)}")
    config = named_file(request.sources, CONFIG, required=paths[-1] is not None)
    lora = read_lora(config) if config else None
    _build(base, [read_file(path) for path in paths if path], settings, lora, [], "")


def _build(
    base: Base, parts: list[Published], settings: Settings, lora: Lora | None, around: list[str], adapter: str
) -> None:
    """The core of all ``parts``, later ones before earlier; ``around`` are tokens of its own before the signals."""
    tensors: Tensors = {}
    for part in parts:
        tensors |= _names_of_code(part).tensors
    published = Published(" and ".join(part.where for part in parts), tensors)
    kind, input_settings = input_sizes(published, INPUT, settings.input_heads)
    pooled = kind == "linear" and bool(around)
    outputs = {name: output_sizes(published, OUTPUTS[name], settings.output_heads) for name in MEDIA}
    fields = base.media_fields(None, published.where)
    fields |= {"input_modalities": [name for name in MEDIA if name in fields["input_modalities"]]}
    fields |= {"signal_tokens": SIGNALS, "input_projection": kind, "input_projection_settings": input_settings}
    tokens = input_settings["groups"][-1] if kind == "group" else base.encoder.patch_counts()
    fields |= (
        {"input_features": "pooled", "input_tokens": 1}
        if pooled
        else {
            "input_features": "patches",
            "input_tokens": tokens,
        }
    )
    fields |= _output_fields(outputs, published)
    fields |= {"lora": lora.settings if lora else None}
    config = CoreConfig(text_config=base.config, first_added_token=base.rows, **fields)
    shapes = projection_shapes(config, INPUT, OUTPUTS, pooled)
    grown = base.rows + len(around) + sum(SIGNALS.values())
    shapes |= dict.fromkeys((EMBEDDING, OUTPUT), (grown, base.sizes.width))
    shapes |= lora_shapes(base, lora, adapter=adapter) if lora else {}
    needs = f"{base.needs}, whose {base.rows:,} rows are followed by {grown - base.rows} of {' '.join(around)} signals"
    check_tensors(published.tensors, shapes, published.where, needs)
    for name in (EMBEDDING, OUTPUT):
        check_rows(published.tensors[name], base, name, published.where)
    _check_decoders(base, config)
    own = _grow(base, published.tensors, around, len(fields["input_modalities"]) + 1)
    base.write_core(fields, own | lora_tensors(published) | _projections(published.tensors, pooled))


def _names_of_code(part: Published) -> Published:
    """Names as the newest code has them before LoRA is put on; LoRA's own keep theirs."""
    plain = {name: value for name, value in part.tensors.items() if ".lora_" not in name}
    renamed = Published(part.where, plain).renamed(NEWEST).tensors
    return Published(part.where, renamed | {n: v for n, v in part.tensors.items() if n not in plain})


def _newest_ends(published: Published) -> Published:
    """Ends of output projections as the newest code names them."""
    names = {prefix + old: prefix + new for prefix in OUTPUTS.values() for old, new in LEGACY_NAMES.items()}
    return published.renamed(names)


def _stored_lora(published: Published, alpha: float | None) -> Lora | None:
    """LoRA as its matrices show it: the rank, and the linears that it is on."""
    found = {name: value for name, value in published.tensors.items() if ".lora_A." in name and value.ndim == 2}
    if not found:
        return None
    names = sorted({name.partition(".lora_A.")[0].rpartition(".")[2] for name in found})
    rank = len(next(iter(found.values())))
    return read_settings(
        Lora, {"r": rank, "lora_alpha": alpha or rank, "target_modules": names}, f"{published.where}: LoRA"
    )


def _output_fields(outputs: dict[str, Any], published: Published) -> dict[str, Any]:
    """Fields of the output projections; CheckpointError where these are not of one kind and size."""
    kinds = {repr((kind, settings)) for kind, _, settings in outputs.values()}
    if len(kinds) > 1:
        raise CheckpointError(
            f"{published.where}: the output projections differ, expected one kind: {', '.join(kinds)}"
        )
    kind, _, settings = outputs["image"]
    conditions = {name: shape for name, (_, shape, _) in outputs.items()}
    return {"output_projection": kind, "output_projection_settings": settings, "conditions": conditions}


def _check_decoders(base: Base, config: CoreConfig) -> None:
    """CheckpointError where a decoder of the base takes other conditions than the weights make."""
    names = {name: base.folder / f"{name}_decoder" for name in MEDIA}
    present = {name: shape for name, shape in config.conditions.items() if names[name].is_dir()}
    decoders = Decoders(lambda component: base.folder / component, present, torch.device("cpu"))
    for name in present:
        decoders[name]


def _grow(base: Base, tensors: Tensors, around: list[str], silent: int) -> Tensors:
    """Rows of signals for the core, which has ``silent`` rows before them; the others into the language model."""
    first = base.rows + len(around)
    if around:
        tokenizer: Any = base.tokenizer
        tokenizer.add_tokens(around, special_tokens=True)
        tokenizer.save_pretrained(base.folder / "tokenizer")
    kept = {name: tensors[name][:first] for name in (EMBEDDING, OUTPUT)}
    replace_tensors(base.language_model, kept, vocab_size=first)
    base.reread()
    own = {"added_embedding": tensors[EMBEDDING][first:], "added_output": tensors[OUTPUT][first:]}
    return {name: torch.cat([rows.new_zeros(silent, rows.shape[1]), rows]) for name, rows in own.items()}


def _projections(tensors: Tensors, pooled: bool) -> Tensors:
    """Input and output projections under the core's names."""
    own: Tensors = {}
    for name, value in tensors.items():
        if name.startswith(INPUT):
            own["input_projection." + ("out." if pooled else "") + name.removeprefix(INPUT)] = value
        for modality, prefix in OUTPUTS.items():
            if name.startswith(prefix):
                own[f"output_projections.{modality}.{name.removeprefix(prefix)}"] = value
    return own
