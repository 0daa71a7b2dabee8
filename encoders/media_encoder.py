"""ImageBind's towers, a point encoder, their preprocessing and their tokenizer as one component with a folder.

Images and videos share the vision tower. Legend: B batch, S clips, E width of the shared space.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from encoders.base import Encoder
from encoders.imagebind import ImageBind, ImageBindConfig
from encoders.points import PointConfig, PointEncoder, farthest_points, normalise_points
from encoders.preprocess_audio import AudioSettings, preprocess_audio
from encoders.preprocess_image import ImageSettings, preprocess_image
from encoders.preprocess_video import VideoSettings, preprocess_video
from encoders.text_tokenizer import tokenize

CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "config.json", "model.safetensors", "tokenizer.json"
MOST_POINTS_COMPARED = 8192


def _settings(kind, values: dict):
    known = {entry.name for entry in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown {kind.__name__} {unknown}: expected some of {sorted(known)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class MediaEncoderConfig:
    """Towers and preprocessing; what ``config.json`` holds."""

    imagebind: ImageBindConfig
    points: PointConfig
    image: ImageSettings
    video: VideoSettings
    audio: AudioSettings

    @classmethod
    def from_dict(cls, values: dict) -> MediaEncoderConfig:
        """The inverse of :meth:`to_dict`; missing and unknown settings are refused by name."""
        known = {entry.name for entry in fields(cls)}
        if set(values) != known:
            raise ValueError(f"an encoder configuration with {sorted(values)}: expected exactly {sorted(known)}")
        return cls(
            ImageBindConfig.from_dict(values["imagebind"]),
            PointConfig.from_dict(values["points"]),
            _settings(ImageSettings, values["image"]),
            _settings(VideoSettings, values["video"]),
            _settings(AudioSettings, values["audio"]),
        )

    def to_dict(self) -> dict:
        return asdict(self)


class MediaEncoder(Encoder):
    """Pictures, videos, sounds, point clouds and text to unit vectors of one space."""

    modalities = ("image", "video", "audio", "points")

    def __init__(self, config: MediaEncoderConfig, tokenizer: Tokenizer):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.width = config.imagebind.shared_width
        self.imagebind = ImageBind(config.imagebind)
        self.points = PointEncoder(config.points)

    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        """image uint8 (H, W, 3) -> (3, s, s); video uint8 (F, H, W, 3) -> (S, 3, 2, s, s); audio float (N,) or
        (channels, N) -> (S, 1, mels, frames); points float (N, 3) -> (points, 3).

        ``rate`` is hertz for audio and frames a second for video. ValueError: an unknown modality, or an array that
        is no such medium.
        """
        if modality == "image":
            return preprocess_image(array, self.config.image)
        if modality == "video":
            return preprocess_video(array, 4.0 if rate is None else rate, self.config.video, self.config.image)
        if modality == "audio":
            return preprocess_audio(array, self.config.audio.rate if rate is None else int(rate), self.config.audio)
        if modality == "points":
            return preprocess_points(array, self.config.points.points)
        raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(self.modalities)}")

    def embed(self, modality: str, batch: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        """Float32 unit vectors (B, E) of what :meth:`preprocess` gave, stacked or, where clips differ, as a list.

        Clips are averaged as ImageBind does, then normalised again.
        """
        if modality not in self.modalities:
            raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(self.modalities)}")
        if modality == "image":
            return self.imagebind.unit("vision", _stacked(batch)).float()
        if modality == "points":
            return self.points(_stacked(batch)).float()
        clips = list(batch)
        tower = "vision" if modality == "video" else "audio"
        units = self.imagebind.unit(tower, torch.cat(clips)[:, None]).float()  # (all clips, E)
        means = [part.mean(dim=0) for part in units.split([len(item) for item in clips])]
        return F.normalize(torch.stack(means), dim=-1)

    def patches(self, modality: str, batch: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
        """Float32 patch tokens (P, E) of each medium, as NExT-GPT takes them: unit vectors, averaged over clips.

        A point cloud has no patches: its one token is its embedding.
        """
        if modality not in self.modalities:
            raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(self.modalities)}")
        if modality == "points":
            return list(self.embed(modality, batch)[:, None])
        if modality == "image":
            return list(self.imagebind.patch_tokens("vision", _stacked(batch)).float())
        clips = list(batch)
        tokens = self.imagebind.patch_tokens("vision" if modality == "video" else "audio", torch.cat(clips)[:, None])
        return [part.float().mean(dim=0) for part in tokens.split([len(item) for item in clips])]

    def patch_counts(self) -> dict[str, int]:
        """How many tokens :meth:`patches` gives for a medium of each modality."""
        towers, side = self.config.imagebind.towers, self.config.image.size
        vision, audio = towers["vision"], towers["audio"]
        seen = _grid((side, side), vision.kernel[1:], vision.stride[1:])
        heard = _grid(audio.input_shape[1:], audio.kernel, audio.stride)
        return {"image": seen, "video": seen, "audio": heard, "points": 1}

    def set_image_size(self, size: int) -> None:
        """See pictures and films at ``size`` pixels a side: position embeddings are interpolated."""
        self.config = replace(self.config, image=replace(self.config.image, size=size))

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """Float32 unit vectors (B, E); a text beyond the tower's length is cut."""
        return self.embed_ids(self.tokenize(texts))

    def embed_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (B, L) to float32 unit vectors (B, E)."""
        device = self.points.pc_projection.device
        return self.imagebind.unit("text", ids.to(device)).float()

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """Ids (B, longest text)."""
        return tokenize(self.tokenizer, texts, self.config.imagebind.towers["text"].input_shape[0])

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write config.json, model.safetensors (parameters as ``dtype``) and tokenizer.json, each by renaming."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        halved = {name for name, _ in self.named_parameters()}
        weights = {
            name: (value.to(dtype) if name in halved else value).detach().cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        aside = {name: folder / f"{name}.writing" for name in (TOKENIZER_FILE, CONFIG_FILE, WEIGHTS_FILE)}
        self.tokenizer.save(str(aside[TOKENIZER_FILE]))
        aside[CONFIG_FILE].write_text(json.dumps(self.config.to_dict(), indent=2) + "\n", encoding="utf-8")
        save_file(weights, aside[WEIGHTS_FILE])
        for name, path in aside.items():
            os.replace(path, folder / name)
        self.identity = _identity(folder / WEIGHTS_FILE)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MediaEncoder:
        """The encoder of a folder, float32, in evaluation mode. ValueError names missing files and wrong weights."""
        folder = Path(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise ValueError(f"no encoder in {folder}: {name} is missing")
        config = MediaEncoderConfig.from_dict(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        encoder = cls(config, Tokenizer.from_file(str(folder / TOKENIZER_FILE)))
        try:
            encoder.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except RuntimeError as error:
            raise ValueError(f"{folder / WEIGHTS_FILE} does not fit its {CONFIG_FILE}: {error}") from error
        encoder.identity = _identity(folder / WEIGHTS_FILE)
        return encoder.eval()


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


def _identity(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
