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
from nextgpt_lite.config import SIGNALS
from nextgpt_lite.released_weights.base import Base, Request, open_base
from nextgpt_lite.released_weights.files import Published, Tensors, named_file, only_file, read_file
from nextgpt_lite.released_weights.peft_layout import CONFIG, PREFIX, Lora, lora_shapes, lora_tensors, read_lora
from nextgpt_lite.released_weights.projections import input_sizes, output_sizes, projection_shapes
from nextgpt_lite.released_weights.vocabulary import EMBEDDING, OUTPUT, check_rows, replace_tensors
from nextgpt_lite.weight_files import CheckpointError

#: Beginnings of names -> those that are used here: of the newest code, with LoRA around it or not.
NEWEST = {f"{PREFIX}{place}": place for place in ("model.mm_", "model.embed_tokens.", "lm_head.")}
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
    base = open_base(request, folder, "nextgpt_legacy")
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
    base = open_base(request, folder, "vicuna")
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
    published = _together([part.renamed(NEWEST) for part in parts])
    fields: dict[str, Any] = _fields(base, published, settings, bool(around))
    fields |= {"lora": lora.settings if lora else None}
    grown = base.rows + len(around) + sum(SIGNALS.values())
    shapes, pooled = projection_shapes(base.config, fields, INPUT, OUTPUTS), fields["input_features"] == "pooled"
    shapes |= dict.fromkeys((EMBEDDING, OUTPUT), (grown, base.sizes.width))
    shapes |= lora_shapes(base, lora, adapter=adapter) if lora else {}
    more = f"{base.rows:,} rows and behind them {grown - base.rows} for {' '.join([*around, 'signals'])}"
    published.check(shapes, f"{base.needs}, with {more}")
    for name in (EMBEDDING, OUTPUT):
        check_rows(published.tensors[name], base, published.in_file(name), published.where)
    fields = base.media_fields(None, published.where) | fields
    fields |= {"input_modalities": [name for name in MEDIA if name in base.encoder.modalities]}
    _check_decoders(base, fields["conditions"])
    own = _grow(base, published.tensors, around, len(fields["input_modalities"]) + 1)
    if around:
        base.end_at("###")
    base.write_core(fields, own | lora_tensors(published) | _projections(published.tensors, pooled))


def _together(parts: list[Published]) -> Published:
    """The weights of all parts; of a projection that two of them have, the later one's as a whole."""
    tensors: Tensors = {}
    for part in parts:
        again = tuple(prefix for prefix in (INPUT, *OUTPUTS.values()) if part.part(prefix))
        tensors = {name: value for name, value in tensors.items() if not name.startswith(again)} | part.tensors
    former = parts[0].former
    if parts[1:]:
        former = ({new: old for part in parts for each in part.former for new, old in each.items()},)
    paths = [Path(part.where) for part in parts]
    return Published(", ".join([str(paths[0]), *(path.name for path in paths[1:])]), tensors, former=former)


def _fields(base: Base, published: Published, settings: Settings, pooled: bool) -> dict[str, Any]:
    """Fields of the core that say what its projections are. ``pooled``: the first release, one embedding a medium."""
    kind, own = ("linear", {}) if pooled else input_sizes(published, INPUT, settings.input_heads)
    outputs = {name: output_sizes(published, OUTPUTS[name], settings.output_heads) for name in MEDIA}
    for name, (_, _, sizes) in outputs.items():
        if wrong := [key for key, value in outputs["image"][2].items() if sizes.get(key) != value]:
            first, other = (published.in_file(OUTPUTS[each]) for each in ("image", name))
            found = f"{wrong[0]} {outputs['image'][2][wrong[0]]} and {sizes.get(wrong[0])}"
            raise CheckpointError(f"{published.where}: {first!r} and {other!r} are of different sizes: {found}")
    tokens = own["groups"][-1] if kind == "group" else base.encoder.patch_counts()
    return {
        "signal_tokens": SIGNALS,
        "embedding_width": base.encoder.width,
        "input_features": "pooled" if pooled else "patches",
        "input_tokens": 1 if pooled else tokens,
        "input_projection": kind,
        "input_projection_settings": own,
        "output_projection": outputs["image"][0],
        "output_projection_settings": outputs["image"][2],
        "conditions": {name: shape for name, (_, shape, _) in outputs.items()},
        "prompts": {"media_tokens": 0},
    }


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


def _check_decoders(base: Base, conditions: dict[str, tuple[int, int]]) -> None:
    """CheckpointError where a decoder of the base takes other conditions than the weights make."""
    present = {name: shape for name, shape in conditions.items() if base.has(f"{name}_decoder")}
    decoders = Decoders(base.path, present, torch.device("cpu"))
    for name in present:
        decoders[name]


def _grow(base: Base, tensors: Tensors, around: list[str], silent: int) -> Tensors:
    """Rows of signals for the core, which has ``silent`` rows before them; the others into the language model."""
    first = base.rows + len(around)
    if around:
        tokenizer: Any = base.tokenizer
        tokenizer.add_tokens(around, special_tokens=True)
        tokenizer.save_pretrained(base.path("tokenizer"))
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
