"""A model folder of parts: each recognised, its files linked or copied, the whole checked, then written at once."""

from dataclasses import dataclass
from pathlib import Path

from data.atomic import atomic_folder, check_new_folder, write_json, write_text
from data.strict import read_json
from decoders.base import SETTINGS as DECODER_SETTINGS
from encoders import class_name
from encoders.transformers_vision import SETTINGS as ENCODER_SETTINGS
from encoders.transformers_vision import TransformersVision
from nextgpt_lite.checkpoint import write_manifest
from nextgpt_lite.compose.composition import Composition, Part
from nextgpt_lite.compose.fit import check_parts
from nextgpt_lite.compose.part_files import (
    ENCODER,
    LANGUAGE_MODEL,
    Place,
    place_copy,
    place_link,
    place_model,
    place_pipeline,
    place_tokenizer,
    place_tree,
)
from nextgpt_lite.compose.recognise import TOKENIZERS, kind, recognise
from nextgpt_lite.compose.templates import template_text
from nextgpt_lite.weight_files import CheckpointError

TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Composed:
    """What a component of a composed model is."""

    component: str
    kind: str
    path: str
    size: int  #: bytes


def compose(composition: Composition, out: Path, copy: bool = False) -> list[Composed]:
    """Write the model folder ``out``, which must be new, of links to the parts' files, or with ``copy`` of copies.

    Raises CheckpointError or SettingsError, one sentence, for a part that is not what it is given as, cannot be read,
    or does not fit the others; nothing is written then.
    """
    check_new_folder(out)
    with atomic_folder(out) as temporary:
        made = place_parts(composition, temporary, copy)
        write_manifest(temporary, composition.name or out.resolve().name)
        return [
            Composed(name, kind(temporary / name), part.path, _size(temporary / name)) for name, part in made.items()
        ]


def place_parts(composition: Composition, folder: Path, copy: bool = False) -> dict[str, Part]:
    """Link or copy the parts into a new folder and check the whole; the parts by component. As :func:`compose`."""
    parts = {name: part for name in composition.parts if (part := composition.part(name))}
    for name, part in parts.items():
        _check_kind(name, Path(part.path))
    tokenizer = parts.get("tokenizer") or parts["language_model"]
    _place_tokenizer(Path(tokenizer.path), folder / "tokenizer", composition.chat_template)
    for name, part in parts.items():
        if name != "tokenizer":
            _place(name, part, folder / name, place_copy if copy else place_link)
    made = {**parts, "tokenizer": tokenizer}
    check_parts(folder, {name: part.path for name, part in made.items()})
    return made


def _check_kind(name: str, folder: Path) -> None:
    """CheckpointError unless the folder holds what it is given as."""
    try:
        found = recognise(folder)
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}") from None
    wanted = {"vision_tower": ("encoder",), "tokenizer": ("tokenizer", "language_model")}.get(name, (name,))
    if found not in wanted:
        what = "a tokenizer alone" if found == "tokenizer" else f"{kind(folder)}, which is for {found}"
        raise CheckpointError(f"{name}: {folder} holds {what}")


def _place_tokenizer(source: Path, target: Path, template: str) -> None:
    if not any((source / name).is_file() for name in TOKENIZERS):
        raise CheckpointError(f"{source} has no tokenizer ({', '.join(TOKENIZERS[:3])}): give tokenizer=FOLDER")
    place_tokenizer(source, target)
    if template:
        write_text(target / TEMPLATE, template_text(template))


def _place(name: str, part: Part, target: Path, place: Place) -> None:
    source = Path(part.path)
    if name == "language_model":
        if part.settings:
            raise CheckpointError(f"language_model has no settings, not {', '.join(part.settings)}")
        place_model(source, target, LANGUAGE_MODEL, place)
        return
    if name.endswith("_decoder"):
        place_pipeline(source, target, place)
        _write_settings(target / DECODER_SETTINGS, part)
        return
    if class_name(source) != TransformersVision.__name__:
        place_tree(source, target, place)
    else:
        place_model(source, target, ENCODER, place)
    _write_settings(target / ENCODER_SETTINGS, part)


def _write_settings(path: Path, part: Part) -> None:
    """Settings that were given, in a file of the model's own: those of the part are changed by them."""
    if part.settings:
        known = read_json(path) if path.is_file() else {}
        path.unlink(missing_ok=True)  # a link
        write_json(path, known | part.settings)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
