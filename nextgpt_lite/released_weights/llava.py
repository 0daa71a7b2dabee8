"""LLaVA's published weights (2304.08485, 2309.09958): the projector alone, or with LoRA on its language model.

Images are read as LLaVA reads them: CLIP's layer before the last without the class token, cropped by the encoder's
preprocessor, unless a ``config.json`` beside the weights says otherwise. That of LLaVA 1.5 pads them to a square.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.strict import read_json, read_settings, setting
from nextgpt_lite.released_weights.base import Base, NoSettings, Request, open_base
from nextgpt_lite.released_weights.files import (
    Published,
    Tensors,
    named_file,
    only_file,
    read_file,
)
from nextgpt_lite.released_weights.peft_layout import CONFIG, PREFIX, lora_shapes, lora_tensors, read_lora
from nextgpt_lite.weight_files import CheckpointError

PROJECTOR = "mm_projector."
#: Beginnings of the projector's names -> one of them.
PLACES = {f"{PREFIX}model.{PROJECTOR}": PROJECTOR, f"model.{PROJECTOR}": PROJECTOR}
SIDE = re.compile(r"-(\d{3})$")


@dataclass(frozen=True)
class Recipe:
    """What is read of the ``config.json`` beside the weights."""

    mm_projector_type: str | None = setting(None, choices=("linear", "mlp2x_gelu"))
    mm_vision_select_layer: int = setting(-2)
    mm_vision_select_feature: str = setting("patch", choices=("patch", "cls_patch"))
    mm_vision_tower: str | None = setting(None)
    mm_hidden_size: int | None = setting(None)
    hidden_size: int | None = setting(None)
    num_hidden_layers: int | None = setting(None)
    vocab_size: int | None = setting(None)
    mm_use_im_start_end: bool = setting(False)
    mm_use_im_patch_token: bool = setting(False)
    mm_patch_merge_type: str = setting("flat", choices=("flat",))
    image_aspect_ratio: str = setting("square", choices=("square", "pad"))

    @property
    def encoder_settings(self) -> dict[str, Any]:
        """Those of encoders.transformers_vision.VisionSettings."""
        tokens = {"layer": self.mm_vision_select_layer, "class_token": self.mm_vision_select_feature == "cls_patch"}
        return tokens | ({"pad": True} if self.image_aspect_ratio == "pad" else {})


def build_projector(request: Request, folder: Path) -> None:
    """``mm_projector.bin``."""
    read_settings(NoSettings, request.settings, "llava_projector")
    path = only_file(request.sources)
    _build(request, folder, read_file(path), {})


def build_lora(request: Request, folder: Path) -> None:
    """``adapter_model`` with ``adapter_config.json``, and the projector in ``non_lora_trainables.bin``."""
    read_settings(NoSettings, request.settings, "llava_lora")
    settings = _named(request, CONFIG)
    adapter = read_file(_named(request, "adapter_model.safetensors", "adapter_model.bin"))
    projector = read_file(_named(request, "non_lora_trainables.bin", "non_lora_trainables.safetensors"))
    lora = read_lora(settings)

    def more(base: Base) -> Tensors:
        needs = f"{base.needs} with the rank {lora.r} of {settings}"
        adapter.check(lora_shapes(base, lora), needs)
        return lora_tensors(adapter)

    _build(request, folder, projector, {"lora": lora.settings}, more)


def _named(request: Request, *names: str) -> Path:
    found = named_file(request.sources, *names)
    assert found is not None  # it is required
    return found


def _build(request: Request, folder: Path, published: Published, fields: dict[str, Any], more=lambda base: {}) -> None:
    """The core of a projector; ``more`` gives further weights once the base is known."""
    config = named_file(request.sources, "config.json", required=False)
    recipe = _recipe(config)
    base = open_base(request, folder, "vicuna", recipe.encoder_settings)
    if config is not None:
        _check_recipe(recipe, base, config)
    projector = published.renamed(PLACES)
    kind, shapes = _projector_shapes(projector, base, recipe)
    projector.check(shapes, f"{base.needs} and its encoder gives it")
    own = more(base)
    fields = base.media_fields(None, projector.where) | fields
    fields |= {"input_features": "patches", "input_projection": kind, "input_tokens": base.encoder.patch_counts()}
    place = "input_projection." if kind == "linear" else "input_projection.layer."
    tensors = {name.replace(PROJECTOR, place): value for name, value in projector.tensors.items()}
    base.write_core(fields, tensors | own)


def _recipe(path: Path | None) -> Recipe:
    """CheckpointError for images that are marked or put together in ways that this project does not have."""
    values = read_json(path) if path else {}
    known = {name: values[name] for name in Recipe.__dataclass_fields__ if values.get(name) is not None}
    recipe = read_settings(Recipe, known, str(path))
    for name in ("mm_use_im_start_end", "mm_use_im_patch_token"):
        if getattr(recipe, name):
            raise CheckpointError(f"{path}: {name} is true: tokens around images have rows that the projector lacks")
    return recipe


def _check_recipe(recipe: Recipe, base: Base, path: Path) -> None:
    """CheckpointError where the ``config.json`` beside the weights speaks of another base or encoder."""
    config: Any = base.config
    found = {
        "hidden_size": (config.hidden_size, "the language model"),
        "num_hidden_layers": (config.num_hidden_layers, "the language model"),
        "vocab_size": (config.vocab_size, "the language model"),
        "mm_hidden_size": (base.encoder.width, "the encoder"),
    }
    for name, (own, who) in found.items():
        said = getattr(recipe, name)
        if said is not None and said != own:
            raise CheckpointError(f"{path}: {name} is {said}, that of {who} in {base.source} is {own}")
    side = SIDE.search(recipe.mm_vision_tower or "")
    if side and int(side[1]) != base.encoder.image_size:
        raise CheckpointError(
            f"{path}: mm_vision_tower is {recipe.mm_vision_tower!r}, of {side[1]} pixels, the encoder in {base.source} "
            f"sees {base.encoder.image_size}"
        )


def _projector_shapes(projector: Published, base: Base, recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """The kind of projector, and its shapes."""
    width, patch = base.config.hidden_size, base.encoder.width
    kind = "linear" if f"{PROJECTOR}weight" in projector.tensors else recipe.mm_projector_type or "linear"
    if projector.part(f"{PROJECTOR}0.", f"{PROJECTOR}2."):
        kind = "mlp2x_gelu"
    if recipe.mm_projector_type not in (None, kind):
        said = recipe.mm_projector_type
        raise CheckpointError(f"{projector.where} holds a projector of kind {kind}, its config.json says {said}")
    if kind == "linear":
        return kind, {f"{PROJECTOR}weight": (width, patch), f"{PROJECTOR}bias": (width,)}
    shapes = {f"{PROJECTOR}{layer}.bias": (width,) for layer in (0, 2)}
    return kind, shapes | {f"{PROJECTOR}0.weight": (width, patch), f"{PROJECTOR}2.weight": (width, width)}
