"""Model folders: one manifest, a subfolder per component, safetensors only. What does not fit is refused by name.

    manifest.json            components with class, path (or pretrained part), sha256; candidates
    tokenizer/  language_model/  context_adapter/  encoder/  core/  image_decoder/  video_decoder/  audio_decoder/
    image_critic/  cache/

The language model is referred to by hash, not copied: loading another base is an error. ``core/`` is read by
:mod:`nextgpt_lite.core_checkpoint`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from data.atomic import hash_file, hash_folder, write_json
from data.hashes import kept_hash
from data.modalities import MODALITIES
from data.parts import STAMP, PartMissing, cache_folder, part_folder
from data.strict import SettingsError, nearest, read_json, read_settings, setting
from nextgpt_lite.chat_template import ConversationError, check_template
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.language_models import read_tokenizer
from nextgpt_lite.packing import unpacked_folder
from nextgpt_lite.signal_tokens import add_to_tokenizer, check_tokenizer
from nextgpt_lite.weight_files import CheckpointError, refuse_code

if TYPE_CHECKING:
    from decoders import Decoder
    from encoders import Encoder

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
#: What a run writes at its end into its own folder; its recipe names the folder of the model.
RUN_RECORD = "run.json"
#: Component of a model folder: what stage 0 trained (nextgpt_lite.long_context.merge).
CONTEXT_ADAPTER = "context_adapter"
#: Candidates of a medium, at most: more would only cost time.
MAX_CANDIDATES = 16
FORMAT = 1
WEIGHTS = Path(__file__).parent / "weights"
#: Models that come with the package, the best first. Some need pretrained parts.
EMBEDDED = ("small", "nano")
#: Suffixes of weight files that could run code when they are read.
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})
#: Components whose class is always the same. Of decoders and encoders the folder says which class it holds.
COMPONENTS = {
    "tokenizer": "transformers.PreTrainedTokenizerFast",
    "language_model": "transformers.AutoModelForCausalLM",
    "encoder": "encoders.media_encoder.MediaEncoder",
    "vision_tower": "encoders.open_clip.OpenClipVision",
    CONTEXT_ADAPTER: "peft.LoraModel",
    "core": "nextgpt_lite.model.AnyToAnyCore",
    "image_critic": "decoders.image_critic.ImageCritic",
    "cache": "adapters.visual_cache.VisualCache",
}


@dataclass(frozen=True)
class Manifest:
    """What a ``manifest.json`` may hold: see :func:`write_manifest`."""

    name: str
    components: dict[str, dict[str, str]]
    candidates: dict[str, int] = setting({}, low=1, high=MAX_CANDIDATES)
    experts: list[str] = setting([], choices=("reading", "hear"), help="whose words it was trained with")
    preview: bool = setting(False, help="it is not finished: it answers only where it is named")
    format: int = FORMAT


def default_model() -> str:
    """The embedded model that answers where none is named: the best that is finished and whose pretrained parts are all
    there."""
    for name in EMBEDDED[:-1]:
        if (WEIGHTS / name / MANIFEST).is_file() and not read_manifest(WEIGHTS / name).get("preview"):
            if not (missing := missing_parts(WEIGHTS / name)):
                return name
            log.warning(
                "%s needs the pretrained parts %s (`nextgpt-lite models --fetch`): until they are there, %s answers",
                *(name, ", ".join(missing), EMBEDDED[-1]),
            )
    return EMBEDDED[-1]


def unavailable_models() -> dict[str, list[str]]:
    """Embedded models whose pretrained parts have not all been fetched, with those parts."""
    found = {name: WEIGHTS / name for name in EMBEDDED if (WEIGHTS / name / MANIFEST).is_file()}
    return {name: parts for name, folder in found.items() if (parts := missing_parts(folder))}


def missing_parts(folder: Path) -> list[str]:
    """Pretrained parts that a model's components are, or stand on, and that have not been fetched."""
    parts = {entry["part"] for entry in read_manifest(folder)["components"].values() if "part" in entry}
    encoder = folder / "encoder" / "config.json"
    if encoder.is_file():
        values = _read_json(encoder)
        parts |= {values[name] for name in ("trunk", "text") if name in values}
    return sorted(part for part in parts if not (cache_folder() / "parts" / part / STAMP).is_file())


def resolve_model(name: str | Path) -> Path:
    """``"small"``, ``"nano"``, a model folder, or the folder of a run that trained one -> the model's folder.

    Raises CheckpointError when there is no model there.
    """
    folder = WEIGHTS / name if str(name) in EMBEDDED else Path(name)
    if (folder / RUN_RECORD).is_file() and not (folder / MANIFEST).is_file():
        folder = Path(_read_json(folder / RUN_RECORD)["recipe"]["model"])
    if not (folder / MANIFEST).is_file():
        found = " or ".join(repr(each) for each in EMBEDDED if (WEIGHTS / each / MANIFEST).is_file())
        raise CheckpointError(f"no model {str(name)!r}: expected {found} or a folder with a {MANIFEST}")
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder, checked. CheckpointError, one sentence, for what it may not hold."""
    path = folder / MANIFEST
    manifest = _read_json(path)
    found = manifest.get("format")
    if found != FORMAT:
        raise CheckpointError(f"{path} has format {found!r}, expected {FORMAT}")
    try:
        checked = read_settings(Manifest, manifest, str(path))
    except SettingsError as error:
        raise CheckpointError(str(error)) from None
    for name, entry in checked.components.items():
        if name not in component_names():
            raise CheckpointError(f"{path}: components: unknown component {name!r}{nearest(name, component_names())}")
        if entry.keys() not in ({"class", "path", "sha256"}, {"class", "part", "sha256"}):
            raise CheckpointError(
                f"{path}: components.{name} must have the keys class, path or part, sha256, not {entry}"
            )
    for modality in checked.candidates:
        if f"{modality}_decoder" not in checked.components:
            raise CheckpointError(f"{path}: candidates: {modality!r} has no decoder in this model")
    refuse_code(folder)
    return manifest


def component_names() -> list[str]:
    """Names of all components that a model folder may have."""
    return [*COMPONENTS, *(f"{modality}_decoder" for modality in MODALITIES)]


def component_class(name: str, folder: Path) -> str:
    """The class of a component, as its folder says: a decoder's pipeline, an encoder's class, or the only one."""
    if name.endswith("_decoder"):
        return f"diffusers.{_read_json(folder / 'model_index.json').get('_class_name')}"
    if name not in ("encoder", "vision_tower"):
        return COMPONENTS[name]
    from encoders import class_name  # imported late: text alone needs no encoder

    try:
        named = class_name(folder)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    known = {path.rpartition(".")[2]: path for path in COMPONENTS.values()}
    return known.get(named, f"encoders.{named}")


def write_manifest(
    folder: Path,
    name: str,
    candidates: dict[str, int] | None = None,
    core: str = "core",
    preview: bool = False,
    experts: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe every component that stands in ``folder``; written atomically.

    A decoder of which only parts have been trained so far is left out. ``candidates``: modality -> how many are made of
    each medium (nextgpt_lite.candidates). ``core`` is the subfolder of the component of that name. ``preview``: the
    model is not finished. ``experts``: those whose words are added to every conversation (nextgpt_lite.experts).
    """
    components = {
        component: {"class": component_class(component, folder / path), **_place(folder, path)}
        for component in component_names()
        if (folder / (path := core if component == "core" else component)).is_dir()
        and (not component.endswith("_decoder") or (folder / path / "model_index.json").is_file())
    }
    manifest = {"format": FORMAT, "name": name, "components": components}
    candidates = {each: n for each, n in (candidates or {}).items() if f"{each}_decoder" in components}
    if candidates:
        manifest["candidates"] = candidates
    if experts:
        manifest["experts"] = list(experts)
    if preview:
        manifest["preview"] = True
    write_json(folder / MANIFEST, manifest)
    return manifest


def _place(folder: Path, path: str) -> dict[str, str]:
    """Where a component is and its hash: in the model's folder, or, linked to from there, a pretrained part."""
    resolved = (folder / path).resolve()
    if resolved.parent == cache_folder() / "parts":  # whose stamp has the hashes of its files
        return {"part": resolved.name, "sha256": hash_file(resolved / STAMP)}
    return {"path": path, "sha256": hash_folder(folder / path)}


def update_manifest(folder: Path, core: str | None = None) -> None:
    """Describe a folder anew after one of its components was trained, so that it can be used at once.

    ``core`` is the subfolder of the newest core; None = as the manifest says. Name and settings of a manifest that is
    there are kept. A folder without a core gets none.
    """
    try:
        known = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    except CheckpointError:
        known = {}
    core = core or known.get("components", {}).get("core", {}).get("path")
    if core is None:
        return
    try:
        write_manifest(folder, known.get("name", folder.resolve().name), core=core, **kept_settings(known))
    except FileNotFoundError as error:  # another run of a build is replacing a component
        log.warning("%s is left as it was: %s is being replaced", folder / MANIFEST, error.filename)


def kept_settings(manifest: dict[str, Any]) -> dict[str, Any]:
    """What of a manifest holds for a model that is trained on from it: keywords of :func:`write_manifest`."""
    return {name: manifest[name] for name in ("candidates", "preview", "experts") if name in manifest}


def component(folder: Path, manifest: dict[str, Any], name: str) -> Path:
    """Folder of a component, its hash and its class checked against the manifest; of a packed one an unpacked copy."""
    entry = manifest["components"].get(name)
    if entry is None:
        untrained = ": train one first, e.g. with train/recipes/projector.yaml" if name == "core" else ""
        raise CheckpointError(f"{folder} has no component {name!r}{untrained}")
    try:
        path = part_folder(entry["part"]) if "part" in entry else folder / entry["path"]
    except PartMissing as error:
        raise CheckpointError(f"component {name!r}: {error}") from None
    if not path.is_dir():
        raise CheckpointError(f"component {name!r} is missing: expected a folder at {path}")
    pickles = sorted(file.name for file in path.rglob("*") if file.suffix in PICKLES)
    if pickles:
        raise CheckpointError(f"component {name!r} holds {pickles[0]}: only safetensors are read, never a pickle")
    found = hash_file(path / STAMP) if "part" in entry else kept_hash(path)
    if found != entry["sha256"]:
        raise CheckpointError(
            f"component {name!r} in {path} is not the one in the manifest: sha256 {found[:12]}, "
            f"expected {entry['sha256'][:12]}"
        )
    kind = component_class(name, path)
    if kind != entry["class"]:
        raise CheckpointError(f"component {name!r} in {path} is a {kind}, the manifest says {entry['class']}")
    return path if "part" in entry else unpacked_folder(path, entry["sha256"])


def model_hash(manifest: dict[str, Any]) -> str:
    """One hash for all components of a model."""
    parts = [f"{name}:{entry['sha256']}" for name, entry in sorted(manifest["components"].items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


# -- tokenizer ----------------------------------------------------------------------------------------------------


def load_tokenizer(folder: Path, config: CoreConfig) -> PreTrainedTokenizerBase:
    """The base tokenizer with placeholders and signal tokens added, their rows checked."""
    tokenizer = read_tokenizer(folder)
    if len(tokenizer) != config.first_added_token:
        raise CheckpointError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, the core expects {config.first_added_token}"
        )
    try:
        check_template(tokenizer)
    except ConversationError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    add_to_tokenizer(tokenizer, config.signal_tokens, config.input_modalities)
    check_tokenizer(tokenizer, config.table)
    return tokenizer


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except SettingsError as error:
        raise CheckpointError(str(error)) from None


# -- encoder and decoders -------------------------------------------------------------------------------------------


def load_encoder(folder: Path, config: CoreConfig) -> Encoder:
    """The encoder in ``folder``. CheckpointError where the core was trained on another one."""
    from encoders import load_encoder as load  # imported late: text alone needs no encoder

    encoder = load(folder)
    expected = config.encoder_identity
    if encoder.identity != expected:
        found = encoder.identity[:12]
        raise CheckpointError(f"the core was trained on encoder {expected[:12]}, this one is {found}")
    if config.image_size:
        encoder.set_image_size(config.image_size)
    return encoder


class Decoders(dict[str, "Decoder"]):
    """Decoders by modality, each loaded when it is first asked for.

    ``folder_of`` names a component's folder; ``shapes`` are the conditions (L, C) that the core makes, by modality.
    With ``offload`` they are kept in main memory: who decodes moves them to the device and back.
    """

    def __init__(
        self,
        folder_of: Callable[[str], Path],
        shapes: Mapping[str, Sequence[int]],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        offload: bool = False,
    ) -> None:
        super().__init__()
        self._folder_of, self._shapes, self._device = folder_of, shapes, device
        self._dtype, self._offload = dtype, offload

    def __missing__(self, modality: str) -> Decoder:
        """Load a decoder. ValueError for a modality that the model does not generate; CheckpointError where the decoder
        takes conditions of another shape."""
        from decoders import load_decoder

        if modality not in self._shapes:
            raise ValueError(f"this model has no {modality} decoder: it has {', '.join(self._shapes)}")
        decoder = load_decoder(self._folder_of(f"{modality}_decoder"), self._dtype)
        expected, found = tuple(self._shapes[modality]), tuple(decoder.condition_shape)
        if found != expected:
            raise CheckpointError(f"the {modality} decoder takes conditions {found}, the core makes {expected}")
        self[modality] = decoder if self._offload else decoder.to(self._device)
        return self[modality]
