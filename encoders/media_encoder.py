"""ImageBind's towers, a point encoder, their preprocessing and their tokenizer as one component with a folder.

Images and videos share the vision tower. Legend: B batch, S clips, E width of the shared space.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

from data.atomic import atomic_file, hash_file, write_json
from encoders.base import Encoder
from encoders.clip_tokenizer import VOCABULARY, ClipTokenizer
from encoders.imagebind import ImageBind, ImageBindConfig
from encoders.imagebind_checkpoint import check_state, load_imagebind, load_points, read_state
from encoders.points import PointConfig, PointEncoder, farthest_points, normalise_points
from encoders.preprocess_audio import AudioSettings, preprocess_audio
from encoders.preprocess_depth import DepthSettings, preprocess_depth
from encoders.preprocess_image import ImageSettings, preprocess_image
from encoders.preprocess_imu import ImuSettings, preprocess_imu
from encoders.preprocess_thermal import ThermalSettings, preprocess_thermal
from encoders.preprocess_video import VideoSettings, preprocess_video
from encoders.text_tokenizer import tokenize

CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "config.json", "model.safetensors", "tokenizer.json"
MOST_POINTS_COMPARED = 8192
#: Medium -> tower that embeds it.
TOWERS = {
    "image": "vision", "video": "vision", "audio": "audio", "depth": "depth", "thermal": "thermal", "imu": "imu",
}  # fmt: skip
#: Media that are taken apart into clips.
CLIPPED = ("video", "audio")


def _settings(kind, values: dict):
    known = {entry.name for entry in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown {kind.__name__} {unknown}: expected some of {sorted(known)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class MediaEncoderConfig:
    """Towers and preprocessing; what ``config.json`` holds.

    ``points`` may be None: no point encoder. ``tokenizer`` is "file" (``tokenizer.json`` beside the weights) or "clip"
    (the released text tower's).
    """

    imagebind: ImageBindConfig
    points: PointConfig | None
    image: ImageSettings
    video: VideoSettings
    audio: AudioSettings
    depth: DepthSettings = field(default_factory=DepthSettings)
    thermal: ThermalSettings = field(default_factory=ThermalSettings)
    imu: ImuSettings = field(default_factory=ImuSettings)
    tokenizer: str = "file"

    def __post_init__(self):
        if self.tokenizer not in ("file", "clip"):
            raise ValueError(f"unknown tokenizer {self.tokenizer!r}: expected file or clip")

    @classmethod
    def huge(cls, points: PointConfig | None = None) -> MediaEncoderConfig:
        """The released model with its own preprocessing, and a point encoder where one is configured."""
        return cls(ImageBindConfig.huge(), points, ImageSettings(), VideoSettings(), AudioSettings(), tokenizer="clip")

    @classmethod
    def from_dict(cls, values: dict) -> MediaEncoderConfig:
        """The inverse of :meth:`to_dict`; missing and unknown settings are refused by name."""
        known = {entry.name for entry in fields(cls)}
        needed = {"imagebind", "points", "image", "video", "audio"}
        if not needed <= set(values) <= known:
            raise ValueError(
                f"an encoder configuration with {sorted(values)}: expected {sorted(needed)} and perhaps "
                f"{sorted(known - needed)}"
            )
        return cls(
            ImageBindConfig.from_dict(values["imagebind"]),
            None if values["points"] is None else PointConfig.from_dict(values["points"]),
            _settings(ImageSettings, values["image"]),
            _settings(VideoSettings, values["video"]),
            _settings(AudioSettings, values["audio"]),
            _settings(DepthSettings, values.get("depth", {})),
            _settings(ThermalSettings, values.get("thermal", {})),
            _settings(ImuSettings, values.get("imu", {})),
            values.get("tokenizer", "file"),
        )

    def to_dict(self) -> dict:
        return asdict(self)


class MediaEncoder(Encoder):
    """Media and text to unit vectors of one space.

    An instance's ``modalities`` are those that its configuration has towers for; the class names the embedded model's.
    """

    modalities = ("image", "video", "audio", "points")

    def __init__(self, config: MediaEncoderConfig, tokenizer: Tokenizer | ClipTokenizer):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.width = config.imagebind.shared_width
        self.imagebind = ImageBind(config.imagebind)
        self.points = None if config.points is None else PointEncoder(config.points)
        seen = tuple(medium for medium, tower in TOWERS.items() if tower in config.imagebind.towers)
        self.modalities = seen if self.points is None else (*seen, "points")

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        """image uint8 (H, W, 3) -> (3, s, s); video uint8 (F, H, W, 3) -> (S, 3, 2, s, s); audio float (N,) or
        (channels, N) -> (S, 1, mels, frames); points float (N, 3) -> (points, 3); depth in metres, float (H, W), and
        thermal, uint8 (H, W) -> (1, s, s); imu float (N, 6) -> (6, samples).

        ``rate`` is hertz for audio, frames a second for video, readings a second for imu. ValueError: an unknown
        modality, or an array that is no such medium.
        """
        self._check_modality(modality)
        if modality == "image":
            return preprocess_image(array, self.config.image)
        if modality == "video":
            return preprocess_video(array, 4.0 if rate is None else rate, self.config.video, self.config.image)
        if modality == "audio":
            return preprocess_audio(array, self.config.audio.rate if rate is None else int(rate), self.config.audio)
        if modality == "depth":
            return preprocess_depth(array, self.config.depth)
        if modality == "thermal":
            return preprocess_thermal(array, self.config.thermal)
        if modality == "imu":
            return preprocess_imu(array, self.config.imu.rate if rate is None else rate, self.config.imu)
        return preprocess_points(array, self.config.points.points)

    def embed(self, modality: str, batch: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        """Float32 unit vectors (B, E) of what :meth:`preprocess` gave, stacked or, where clips differ, as a list.

        Clips are averaged as ImageBind does, then normalised again.
        """
        self._check_modality(modality)
        if modality == "points":
            return self.points(_stacked(batch)).float()
        return F.normalize(self._of_clips(modality, batch, unit=True), dim=-1)

    def project(self, modality: str, batch: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        """As :meth:`embed`, but what the head gives before it is normalised: float32 (B, E) of any length.

        The length is what ImageBind-LLM's picture output wants (2309.03905, Sec. 4; ``adapters.mixing``).
        """
        self._check_modality(modality)
        if modality == "points":
            return self.points.project(_stacked(batch)).float()
        return self._of_clips(modality, batch, unit=False)

    def _of_clips(self, modality: str, batch: torch.Tensor | list[torch.Tensor], unit: bool) -> torch.Tensor:
        """What the tower's head gives, each clip at unit length first or not, averaged over clips: float32 (B, E)."""
        clips = list(batch) if modality in CLIPPED else [item[None] for item in batch]
        projected = self.imagebind.project(TOWERS[modality], torch.cat(clips)).float()  # (all clips, E)
        encoded = F.normalize(projected, dim=-1) if unit else projected
        return torch.stack([part.mean(dim=0) for part in encoded.split([len(item) for item in clips])])

    def _check_modality(self, modality: str) -> None:
        if modality not in self.modalities:
            raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(self.modalities)}")

    def patches(self, modality: str, batch: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
        """Float32 patch tokens (P, E) of each medium, as NExT-GPT takes them: unit vectors, averaged over clips.

        A point cloud has no patches: its one token is its embedding.
        """
        self._check_modality(modality)
        if modality == "points":
            return list(self.embed(modality, batch)[:, None])
        if modality not in CLIPPED:
            return list(self.imagebind.patch_tokens(TOWERS[modality], _stacked(batch)).float())
        clips = list(batch)
        tokens = self.imagebind.patch_tokens(TOWERS[modality], torch.cat(clips)[:, None]).float()
        return [part.mean(dim=0) for part in tokens.split([len(item) for item in clips])]

    def patch_counts(self) -> dict[str, int]:
        """How many tokens :meth:`patches` gives for a medium of each modality."""
        return {modality: self._patch_count(modality) for modality in self.modalities}

    def _patch_count(self, modality: str) -> int:
        if modality == "points":
            return 1
        tower, side = self.config.imagebind.towers[TOWERS[modality]], self.config.image.size
        size = tower.input_shape[1:]
        if TOWERS[modality] == "vision":
            size = (size[0], side, side)
        return _grid(size, tower.kernel, tower.stride)

    @property
    def image_size(self) -> int:
        """Side in pixels at which pictures and films are seen."""
        return self.config.image.size

    def set_image_size(self, size: int) -> None:
        """See pictures and films at ``size`` pixels a side: position embeddings are interpolated."""
        self.config = replace(self.config, image=replace(self.config.image, size=size))

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
        """Ids (B, longest text)."""
        length = self.config.imagebind.towers["text"].input_shape[0]
        if isinstance(self.tokenizer, ClipTokenizer):
            return self.tokenizer(texts, length)
        return tokenize(self.tokenizer, texts, length)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json, model.safetensors (parameters as ``dtype``) and tokenizer.json, each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        halved = {name for name, _ in self.named_parameters()}
        weights = {
            name: (value.to(dtype) if name in halved else value).detach().cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        if TOKENIZER_FILE in _files(self.config):
            with atomic_file(folder / TOKENIZER_FILE) as temporary:
                self.tokenizer.save(str(temporary))
        write_json(folder / CONFIG_FILE, self.config.to_dict())
        with atomic_file(folder / WEIGHTS_FILE) as temporary:
            save_file(weights, temporary)
        self.identity = hash_file(folder / WEIGHTS_FILE)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MediaEncoder:
        """The encoder of a folder, float32, in evaluation mode. ValueError names missing files and wrong weights."""
        folder = Path(folder)
        _check_there(folder, (CONFIG_FILE,))
        config = MediaEncoderConfig.from_dict(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        _check_there(folder, _files(config))
        encoder = cls(config, _tokenizer(config, folder))
        weights = read_state(folder / WEIGHTS_FILE)
        check_state(weights, encoder.state_dict(), str(folder / WEIGHTS_FILE))
        encoder.load_state_dict(weights)
        encoder.identity = hash_file(folder / WEIGHTS_FILE)
        return encoder.eval()

    @classmethod
    def from_imagebind(cls, path: str | Path, points: str | Path | None = None) -> MediaEncoder:
        """The released ``imagebind_huge`` at ``path``, in evaluation mode, without a copy of its weights.

        ``points`` is a checkpoint of the published point encoder with the names of :class:`PointEncoder`. Raises
        ValueError that names what is missing, unknown, wrongly shaped or not finite.
        """
        with torch.device("meta"):
            encoder = cls(MediaEncoderConfig.huge(None if points is None else PointConfig()), ClipTokenizer())
        encoder.imagebind = load_imagebind(path)
        if points is not None:
            encoder.points = load_points(points)
        encoder.identity = hash_file(path)
        return encoder.eval()


def _files(config: MediaEncoderConfig) -> tuple[str, ...]:
    """What an encoder's folder holds; the weights last, since they are what makes it whole."""
    return (CONFIG_FILE, WEIGHTS_FILE) if config.tokenizer == "clip" else (TOKENIZER_FILE, CONFIG_FILE, WEIGHTS_FILE)


def _check_there(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise ValueError(f"no encoder in {folder}: {name} is missing")


def _tokenizer(config: MediaEncoderConfig, folder: Path) -> Tokenizer | ClipTokenizer:
    if config.tokenizer == "file":
        return Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    vocabulary = config.imagebind.towers["text"].vocabulary
    if vocabulary != VOCABULARY:
        raise ValueError(f"a text tower of {vocabulary} tokens: the clip tokenizer has {VOCABULARY}")
    return ClipTokenizer()


def preprocess_points(points: np.ndarray, count: int) -> torch.Tensor:
    """Any cloud (N, 3) -> float32 (count, 3), centred, of unit radius.

    Of a larger cloud points far from each other are kept, those of a smaller one are repeated.
    """
    cloud = torch.as_tensor(np.asarray(points))
    if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) == 0 or not torch.isfinite(cloud).all():
        raise ValueError(f"a point cloud of shape {tuple(cloud.shape)}: expected finite numbers (N, 3), N >= 1")
    cloud = cloud.float()
    if len(cloud) > MOST_POINTS_COMPARED:
        cloud = cloud[torch.linspace(0, len(cloud) - 1, MOST_POINTS_COMPARED).long()]
    if len(cloud) > count:
        centred = cloud - cloud.mean(dim=0)
        cloud = cloud[farthest_points(centred[None], count)[0]]
    elif len(cloud) < count:
        cloud = cloud[torch.arange(count) % len(cloud)]
    return normalise_points(cloud)


def _grid(size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Patches of an input of ``size``."""
    return math.prod((length - k) // step + 1 for length, k, step in zip(size, kernel, stride, strict=True))


def _stacked(batch: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return batch if isinstance(batch, torch.Tensor) else torch.stack(batch)
