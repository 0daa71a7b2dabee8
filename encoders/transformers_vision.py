"""CLIP's, SigLIP's and SigLIP 2's vision towers as ``save_pretrained`` of Transformers or a download has them.

The folder is used as it is: ``config.json`` says which tower it is (of a whole CLIP or SigLIP the text tower is left
out), ``preprocessor_config.json`` how images are prepared. An optional ``encoder.json`` says which tokens are taken:
LLaVA (2304.08485, Sec. 4.1) takes ``{"layer": -2, "class_token": false}``.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, CLIPVisionModel, Siglip2VisionModel, SiglipVisionModel
from transformers.utils import logging

from data.atomic import atomic_folder, write_json
from data.hashes import kept_hash
from data.pretrained import load_whole
from data.strict import read_json, read_settings, sentence, setting
from encoders.base import Batch, Encoder, read_config, stacked
from encoders.preprocessing.vision import as_rgb, pad_to_square

SETTINGS = "encoder.json"
#: Files of which a processor is read: the first of a preprocessor alone, the second of a whole model's.
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOWERS: dict[str, Any] = {
    kind: tower
    for name, tower in (("clip", CLIPVisionModel), ("siglip", SiglipVisionModel), ("siglip2", Siglip2VisionModel))
    for kind in (name, f"{name}_vision_model")
}


@dataclass(frozen=True)
class VisionSettings:
    """What ``encoder.json`` may hold: which tokens of the tower are the patches of an image."""

    layer: int | None = setting(None, help="whose output, counted as Transformers' hidden states; null = the tower's")
    class_token: bool = setting(True, help="whether CLIP's class token is the first of them; SigLIP has none")
    pad: bool = setting(False, help="a square of the mean colour around images of another shape, as LLaVA 1.5 has it")


class TransformersVision(Encoder):
    """Images by a vision tower of Transformers. E is the tower's own width; embeddings are its pooled output.

    ``tower`` and ``processor`` are of Transformers; ``identity`` covers the weights, the processor and ``settings``.
    """

    modalities = ("image",)

    def __init__(self, tower: Any, processor: Any, settings: VisionSettings | None = None) -> None:
        super().__init__()
        self.tower, self.processor, self.settings = tower, processor, settings or VisionSettings()
        self.width = tower.config.hidden_size
        layer, layers = self.settings.layer, tower.config.num_hidden_layers
        if layer is not None and not -layers - 1 <= layer <= layers:
            raise ValueError(
                f"layer must be from {-layers - 1} to {layers}, the tower has {layers} layers, not {layer}"
            )
        self._check_processor()

    @property
    def flexible(self) -> bool:
        """Whether images keep their shape (SigLIP 2, NaFlex): a tensor is a grid of patches (h, w, pixels)."""
        return isinstance(self.tower, Siglip2VisionModel)

    @property
    def patch_size(self) -> int:
        return self.tower.config.patch_size

    @property
    def image_size(self) -> int:
        """Side in pixels; of towers that keep the shape the side of the square with as many pixels."""
        if self.flexible:
            return int(self.processor.max_num_patches**0.5) * self.patch_size
        size = self.processor.crop_size if getattr(self.processor, "do_center_crop", None) else self.processor.size
        return int(size.get("height") or size.get("shortest_edge") or 0)

    def set_image_size(self, size: int) -> None:
        """See images at ``size`` pixels a side; position embeddings are interpolated. ValueError: no whole patches."""
        if size % self.patch_size:
            raise ValueError(f"image size {size} must be a multiple of the tower's patch of {self.patch_size} pixels")
        if self.flexible:
            self.processor.max_num_patches = (size // self.patch_size) ** 2
            return
        ratio = size / self.image_size
        for name in ("size", "crop_size"):
            if sides := getattr(self.processor, name, None):
                setattr(
                    self.processor, name, {key: round(value * ratio) for key, value in dict(sides).items() if value}
                )

    def hold_in(self, dtype: torch.dtype) -> Self:
        self.tower.to(dtype)
        return self

    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        """An image, uint8 (H, W[, 1 | 3 | 4]) -> float32 (3, size, size), or a grid of patches (h, w, pixels)."""
        self.check_modality(modality)
        pixels = as_rgb(array)
        if self.settings.pad:
            pixels = pad_to_square(pixels, self.processor.image_mean)
        made = self.processor(pixels, return_tensors="pt", input_data_format="channels_last")
        pixels = made["pixel_values"][0]
        if not self.flexible:
            return pixels
        height, width = made["spatial_shapes"][0].tolist()
        return pixels[: height * width].unflatten(0, (height, width))

    def embed(self, modality: str, batch: Batch) -> torch.Tensor:
        """The tower's pooled output as float32 unit vectors (B, E). ValueError for a tower without one."""
        self.check_modality(modality)
        pooled = self._run(batch).pooler_output
        if pooled is None:
            raise ValueError("this tower has no pooling head: read its patches (input_features: patches)")
        return functional.normalize(pooled.float(), dim=-1)

    def patches(self, modality: str, batch: Batch) -> list[torch.Tensor]:
        """Tokens (P, E) of each image; where images keep their shape, zeros stand after its own."""
        self.check_modality(modality)
        layer = self.settings.layer
        made = self._run(batch, output_hidden_states=layer is not None)
        tokens = made.last_hidden_state if layer is None else made.hidden_states[layer]  # (B, P, E)
        tokens = tokens.float()
        if self.flexible:
            count = self.patch_counts()["image"]
            own = [each[: grid.shape[0] * grid.shape[1]] for each, grid in zip(tokens, batch, strict=True)]
            return [functional.pad(each, (0, 0, 0, count - len(each))) for each in own]
        return list(tokens if self._has_class_token is self._keeps_class_token else tokens[:, 1:])

    def patch_counts(self) -> dict[str, int]:
        if self.flexible:
            return {"image": self.processor.max_num_patches}
        return {"image": (self.image_size // self.patch_size) ** 2 + self._keeps_class_token}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tower, processor and settings, atomically."""
        with atomic_folder(folder) as temporary:
            self.tower.save_pretrained(temporary)
            self.processor.save_pretrained(temporary)
            write_json(temporary / SETTINGS, asdict(self.settings))
            self.identity = identity_of(temporary)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The tower in ``folder`` in float32, in evaluation mode. ValueError names what is missing or does not fit."""
        folder = Path(folder)
        encoder = cls(load_tower(folder), load_processor(folder), vision_settings(folder))
        encoder.identity = identity_of(folder)
        return encoder.eval()

    @classmethod
    def from_config(cls, folder: str | Path) -> Self:
        folder = Path(folder)
        kind = TOWERS[read_config(folder)["model_type"]]
        tower = kind(kind.config_class.from_pretrained(folder, local_files_only=True))
        return cls(tower, load_processor(folder), vision_settings(folder)).eval()

    def _run(self, batch: Batch, **settings: Any) -> Any:
        dtype = self.tower.dtype
        batch = batch.to(dtype) if isinstance(batch, torch.Tensor) else [each.to(dtype) for each in batch]
        if not self.flexible:
            pixels = stacked(batch)
            resized = pixels.shape[-1] != self.tower.config.image_size
            return self.tower(pixel_values=pixels, interpolate_pos_encoding=resized, **settings)
        grids = [grid.flatten(0, 1) for grid in batch]  # (h * w, pixels) each
        shapes = torch.tensor([grid.shape[:2] for grid in batch], device=self.device)
        rows = pad_sequence(grids, batch_first=True)
        mask = torch.arange(rows.shape[1], device=self.device) < shapes.prod(1)[:, None]
        return self.tower(pixel_values=rows, pixel_attention_mask=mask.int(), spatial_shapes=shapes, **settings)

    @property
    def _has_class_token(self) -> bool:
        return isinstance(self.tower, CLIPVisionModel)

    @property
    def _keeps_class_token(self) -> bool:
        return self._has_class_token and self.settings.class_token

    def _check_processor(self) -> None:
        """ValueError unless the processor makes of any image what the tower takes."""
        if self.flexible:
            if not hasattr(self.processor, "max_num_patches"):
                raise ValueError(f"{type(self.processor).__name__} cuts no patches, which this SigLIP 2 tower takes")
            if self.settings.pad:
                raise ValueError("pad is true, and this SigLIP 2 tower takes images of any shape: expected false")
            return
        size = self.tower.config.image_size
        try:
            found = tuple(self.preprocess("image", np.zeros((size + 9, size + 4, 3), np.uint8)).shape)
        except Exception as error:  # settings that no image can be prepared by
            raise ValueError(f"its preprocessor cannot be used: {sentence(error)}") from error
        if found != (3, size, size):
            raise ValueError(f"its preprocessor makes images of shape {found}, the tower takes (3, {size}, {size})")


def vision_settings(folder: Path) -> VisionSettings:
    """What ``encoder.json`` in the folder says; the defaults where there is none. SettingsError for anything else."""
    path = folder / SETTINGS
    return read_settings(VisionSettings, read_json(path), str(path)) if path.is_file() else VisionSettings()


def load_tower(folder: Path, **settings: Any) -> Any:
    """The vision tower in ``folder``; ValueError where weights are missing, damaged or of another shape.

    ``settings`` are from_pretrained's; with ``device_map="meta"`` the weights are checked and none is read.
    """
    kind = TOWERS[read_config(folder)["model_type"]]
    with _quiet():
        return load_whole(kind, folder, "vision tower", **{"dtype": torch.float32, **settings})


def load_processor(folder: Path) -> Any:
    """The image processor in ``folder``. ValueError where there is none."""
    if not any((folder / name).is_file() for name in PREPROCESSORS):
        raise ValueError(f"{folder} has no {PREPROCESSORS[0]}: it says how images are prepared for the tower")
    try:
        with _quiet():
            return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # likewise
        raise ValueError(f"{folder}: its image processor cannot be read: {sentence(error)}") from error


def identity_of(folder: Path) -> str:
    """SHA-256 over what decides about embeddings: weights, processor and settings."""
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    files = [folder / name for name in (*weights, *PREPROCESSORS) if (folder / name).is_file()]
    chosen, usual = asdict(vision_settings(folder)), asdict(VisionSettings())
    changed = {name: value for name, value in chosen.items() if value != usual[name]}
    return hashlib.sha256(json.dumps([*map(kept_hash, files), changed], sort_keys=True).encode()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Transformers' report on the text tower, which is left out, and its progress bar away."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
