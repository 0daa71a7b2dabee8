"""ImageBind's towers, a point encoder, their preprocessing and their tokenizer as one component with a folder.

Images and videos share the vision tower. Legend: B batch, S clips, E width of the shared space.
"""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from data.atomic import atomic_file
from data.hashes import kept_hash
from data.strict import SettingsError, nearest, read_settings
from encoders.base import CONFIG_FILE, WEIGHTS_FILE, Batch, Encoder, check_state, read_config, read_state, stacked
from encoders.imagebind import ImageBind, ImageBindConfig, load_imagebind
from encoders.points import PointConfig, PointEncoder, load_points
from encoders.preprocessing.vision import ImageSettings
from encoders.preprocessors import POINTS, PREPROCESSORS
from encoders.text_tokenizer import CLIP_VOCABULARY, ClipTokenizer, tokenize

TOKENIZER_FILE = "tokenizer.json"
TOKENIZERS = ("file", "clip")


@dataclass(frozen=True)
class MediaEncoderConfig:
    """Towers and preprocessing.

    In ``config.json`` the settings of the media stand beside ``imagebind``, each under its medium's name.
    """

    imagebind: ImageBindConfig  #: the towers
    #: Modality -> settings of its preprocessor, by default its own. "points" is a PointConfig, none = no point encoder.
    media: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "file"  #: ``tokenizer.json`` beside the weights, or "clip" (the released text tower's)

    def __post_init__(self) -> None:
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"unknown tokenizer {self.tokenizer!r}: expected {' or '.join(TOKENIZERS)}")
        defaults = {name: each.settings() for name, each in PREPROCESSORS.items() if name != POINTS}
        object.__setattr__(self, "media", defaults | self.media)

    @property
    def image(self) -> ImageSettings:
        """Settings of images, which the frames of videos share."""
        return self.media["image"]

    @property
    def points(self) -> PointConfig | None:
        """Sizes of the point encoder, where there is one."""
        return self.media.get(POINTS)

    @classmethod
    def huge(cls, points: PointConfig | None = None) -> Self:
        """The released model with its own preprocessing, and a point encoder where one is configured."""
        return cls(ImageBindConfig.huge(), {POINTS: points} if points else {}, tokenizer="clip")

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "an encoder configuration") -> Self:
        """The inverse of :meth:`to_dict`. ValueError, with ``where``, for unknown and missing keys and wrong values."""
        known = ("imagebind", *PREPROCESSORS, "tokenizer", "class")
        for key in values:
            if key not in known:
                raise SettingsError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        for key in ("imagebind", "points", "image", "video", "audio"):
            if key not in values:
                raise SettingsError(f"{where}: missing key {key!r}")
        media = {
            name: read_settings(each.settings, values[name], f"{where}: {name}")
            for name, each in PREPROCESSORS.items()
            if values.get(name) is not None
        }
        imagebind = read_settings(ImageBindConfig, values["imagebind"], f"{where}: imagebind")
        return cls(imagebind, media, values.get("tokenizer", "file"))

    def to_dict(self) -> dict[str, Any]:
        media = {name: asdict(settings) for name, settings in self.media.items()}
        return {"imagebind": asdict(self.imagebind), POINTS: None, **media, "tokenizer": self.tokenizer}


class MediaEncoder(Encoder):
    """Media and text to unit vectors of one space (ImageBind, 2305.05665; points as in Point-Bind, 2309.00615).

    ``modalities`` are those of :data:`PREPROCESSORS` that the configuration has towers for.
    """

    def __init__(self, config: MediaEncoderConfig, tokenizer: Tokenizer | ClipTokenizer):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.width = config.imagebind.shared_width
        self.imagebind = ImageBind(config.imagebind)
        self.points = None if config.points is None else PointEncoder(config.points)
        towers = {*config.imagebind.towers, *([POINTS] if config.points else [])}
        self.modalities = tuple(name for name, each in PREPROCESSORS.items() if each.tower in towers)
        self.reads_text = "text" in config.imagebind.towers

    def hold_in(self, dtype: torch.dtype) -> Self:
        """The towers in ``dtype``; the point encoder, which is small, stays in float32."""
        self.imagebind.hold_in(dtype)
        return self

    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        self.check_modality(modality)
        return PREPROCESSORS[modality].prepare(array, rate, self.config.media)

    def embed(self, modality: str, batch: Batch) -> torch.Tensor:
        """Float32 unit vectors (B, E); clips are averaged as ImageBind does, then normalised again."""
        return F.normalize(self._of_clips(modality, batch, unit=True), dim=-1)

    def project(self, modality: str, batch: Batch) -> torch.Tensor:
        """As :meth:`embed`, but what the head gives before it is normalised: float32 (B, E) of any length.

        The length is what ImageBind-LLM's image output needs (2309.03905, Sec. 3.3.2; ``adapters.imagebind_llm``).
        """
        return self._of_clips(modality, batch, unit=False)

    def patches(self, modality: str, batch: Batch) -> list[torch.Tensor]:
        """Float32 patch tokens (P, E) of each medium, as NExT-GPT takes them: unit vectors, averaged over clips.

        A point cloud has no patches: its one token is its embedding.
        """
        self.check_modality(modality)
        if modality == POINTS:
            return list(self.embed(modality, batch)[:, None])
        each = PREPROCESSORS[modality]
        if not each.clips:
            return list(self.imagebind.patch_tokens(each.tower, stacked(batch)).float())
        clips = list(batch)
        tokens = self.imagebind.patch_tokens(each.tower, torch.cat(clips)[:, None]).float()
        return [part.mean(dim=0) for part in tokens.split([len(item) for item in clips])]

    def patch_counts(self) -> dict[str, int]:
        return {modality: self._patch_count(PREPROCESSORS[modality].tower) for modality in self.modalities}

    def _patch_count(self, name: str) -> int:
        if name == POINTS:
            return 1
        tower, side = self.config.imagebind.towers[name], self.config.image.size
        size = (tower.input_shape[1], side, side) if name == "vision" else tower.input_shape[1:]
        grid = zip(size, tower.kernel, tower.stride, strict=True)
        return math.prod((length - kernel) // step + 1 for length, kernel, step in grid)

    def _of_clips(self, modality: str, batch: Batch, unit: bool) -> torch.Tensor:
        """What the tower's head gives, each clip at unit length first or not, averaged over clips: float32 (B, E)."""
        self.check_modality(modality)
        if modality == POINTS:
            assert self.points is not None, "check_modality lets points through only with a point encoder"
            return self.points.project(stacked(batch)).float()
        each = PREPROCESSORS[modality]
        clips = list(batch) if each.clips else [item[None] for item in batch]
        projected = self.imagebind.project(each.tower, torch.cat(clips)).float()  # (all clips, E)
        encoded = F.normalize(projected, dim=-1) if unit else projected
        return torch.stack([part.mean(dim=0) for part in encoded.split([len(item) for item in clips])])

    @property
    def image_size(self) -> int:
        return self.config.image.size

    def set_image_size(self, size: int) -> None:
        image = replace(self.config.image, size=size)
        self.config = replace(self.config, media=self.config.media | {"image": image})

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """Float32 unit vectors (B, E); a text beyond the tower's length is cut."""
        return self.embed_ids(self.tokenize(texts))

    def project_text(self, texts: list[str]) -> torch.Tensor:
        """As :meth:`embed_text`, before the normalisation: float32 (B, E)."""
        return self.imagebind.project("text", self.tokenize(texts).to(self.device)).float()

    def embed_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (B, L) to float32 unit vectors (B, E)."""
        return self.imagebind.unit("text", ids.to(self.device)).float()

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """Ids (B, longest text). Raises ValueError without a text tower."""
        if not self.reads_text:
            raise ValueError("this encoder has no text tower, so it cannot embed texts")
        length = self.config.imagebind.towers["text"].input_shape[0]
        if isinstance(self.tokenizer, ClipTokenizer):
            return self.tokenizer(texts, length)
        return tokenize(self.tokenizer, texts, length)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json, model.safetensors (parameters as ``dtype``) and tokenizer.json, each atomically."""
        folder = Path(folder)
        halved = {name for name, _ in self.named_parameters()}
        weights = {
            name: (value.to(dtype) if name in halved else value).detach().cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        if isinstance(self.tokenizer, Tokenizer):
            with atomic_file(folder / TOKENIZER_FILE) as temporary:
                self.tokenizer.save(str(temporary))
        self.write(folder, self.config.to_dict(), weights)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The encoder of a folder, float32, in evaluation mode. ValueError names missing files and wrong weights."""
        folder, encoder = Path(folder), cls.from_config(folder)
        if not (folder / WEIGHTS_FILE).is_file():
            raise ValueError(f"no encoder in {folder}: {WEIGHTS_FILE} is missing")
        weights = read_state(folder / WEIGHTS_FILE)
        check_state(weights, encoder.state_dict(), str(folder / WEIGHTS_FILE))
        encoder.load_state_dict(weights)
        encoder.identity = kept_hash(folder / WEIGHTS_FILE)
        return encoder.eval()

    @classmethod
    def from_config(cls, folder: str | Path) -> Self:
        folder = Path(folder)
        config = MediaEncoderConfig.from_dict(read_config(folder), str(folder / CONFIG_FILE))
        if config.tokenizer == "file" and not (folder / TOKENIZER_FILE).is_file():
            raise ValueError(f"no encoder in {folder}: {TOKENIZER_FILE} is missing")
        return cls(config, _tokenizer(config, folder)).eval()

    @classmethod
    def from_imagebind(cls, path: str | Path, points: str | Path | None = None) -> Self:
        """The released ``imagebind_huge`` at ``path``, in evaluation mode, without a copy of its weights.

        ``points`` is a checkpoint of the published point encoder with the names of :class:`PointEncoder`. Raises
        ValueError that names what is missing, unknown, wrongly shaped or not finite.
        """
        with torch.device("meta"):
            encoder = cls(MediaEncoderConfig.huge(None if points is None else PointConfig()), ClipTokenizer())
        encoder.imagebind = load_imagebind(path)
        if points is not None:
            encoder.points = load_points(points)
        encoder.identity = kept_hash(path)
        return encoder.eval()


def _tokenizer(config: MediaEncoderConfig, folder: Path) -> Tokenizer | ClipTokenizer:
    if config.tokenizer == "file":
        return Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    vocabulary = config.imagebind.towers["text"].vocabulary
    if vocabulary != CLIP_VOCABULARY:
        raise ValueError(f"a text tower of {vocabulary} tokens: the clip tokenizer has {CLIP_VOCABULARY}")
    return ClipTokenizer()
