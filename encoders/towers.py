"""Towers of an encoder over pretrained trunks: how sounds, videos and point clouds become tokens of a PhraseReader.

Shapes: B media, D width of the reader, T tokens; F frames, M mel bands; N points; K frames of a video, Q object tokens
of each, E width of the shared space.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data.resampling import resample
from data.strict import setting
from encoders.phrase_reader import PhraseReader, PhraseReaderConfig
from encoders.points import PointConfig, PointTransformer
from encoders.preprocessing.audio import FRAME_SECONDS, HOP_SECONDS, as_wave, filter_bank
from encoders.preprocessing.sensors import preprocess_points


@dataclass(frozen=True)
class AudioTowerConfig(PhraseReaderConfig):
    """Sizes of an :class:`AudioTower`, and what brings its log-mel energies to about unit size."""

    rate: int = setting(16_000, low=1)
    mels: int = setting(80, low=8)
    frames: int = setting(256, low=8, help="hundredths of a second")
    channels: int = setting(24, low=1, help="of the first convolution")
    floor: float = setting(-11.5, help="log energy of a quiet room: less is not told apart from silence")
    mean: float = setting(-6.5)
    deviation: float = setting(3.0, above=0)


@dataclass(frozen=True)
class PointsTowerConfig(PhraseReaderConfig):
    """Sizes of a :class:`PointsTower`."""

    depth: int = setting(2, low=1)
    points: int = setting(1024, low=1)
    groups: int = setting(64, low=1)
    group_size: int = setting(24, low=1)
    patch_widths: tuple[int, int, int] = setting((32, 64, 128), low=1)
    point_depth: int = setting(2, low=0, help="blocks of Point-BERT before the reader")


@dataclass(frozen=True)
class VideoTowerConfig(PhraseReaderConfig):
    """Sizes of a :class:`VideoTower`."""

    frames: int = setting(6, low=2)
    objects: int = setting(8, low=1, help="object tokens of the image reader")
    channels: int = setting(112, low=1, help="of the trunk's map of stride 16")
    cells: int = setting(4, low=1, help="a side into which changes of that map are pooled")


class Tower(nn.Module, ABC):
    """Features of a medium -> tokens -> phrases."""

    config: Any  # of the tower's own class
    reader: PhraseReader

    @abstractmethod
    def embed_features(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, ...) -> tokens (B, T, D)."""

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (B, ...) -> what :class:`PhraseReader` gives."""
        return self.reader(self.embed_features(features))

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, ...) -> the embedding and the phrases, (B, 1 + L, E)."""
        return self.reader.tokens(self.embed_features(features))


class AudioTower(Tower):
    """Log-mel energies, three convolutions, a token for each eight hundredths of a second."""

    def __init__(self, config: AudioTowerConfig, shared_width: int) -> None:
        super().__init__()
        self.config = config
        first, second, third = config.channels, 2 * config.channels, 4 * config.channels
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(1, first, 3, 2, 1), nn.GELU(), nn.Conv2d(first, second, 3, 2, 1), nn.GELU()),
            *(nn.Conv2d(second, third, 3, 2, 1), nn.GELU()),
        )
        self.join = nn.Linear(third * -(-config.mels // 8), config.width)
        self.positions = nn.Parameter(torch.randn(-(-config.frames // 8), config.width) * 0.1)
        self.reader = PhraseReader(config, shared_width)

    @property
    def samples(self) -> int:
        """Of a sound that gives exactly the frames: its last frame is as wide as the others."""
        return round(self.config.rate * (FRAME_SECONDS + (self.config.frames - 1) * HOP_SECONDS))

    def preprocess(self, array: np.ndarray, rate: float | None) -> torch.Tensor:
        """A sound -> its log-mel energies, float32 (F, M): the loudest stretch of a long one, a short one padded."""
        wave = resample(as_wave(array), self.config.rate if rate is None else int(rate), self.config.rate).mean(0)
        wave = loudest_stretch(wave, self.samples)
        energies = filter_bank(wave, self.config.rate, self.config.mels)[: self.config.frames]
        return (energies.clamp_min(self.config.floor) - self.config.mean) / self.config.deviation

    def embed_features(self, features: torch.Tensor) -> torch.Tensor:
        """Log-mel energies (B, F, M) -> tokens (B, T, D)."""
        maps = self.convolutions(features[:, None])  # (B, C, T, M / 8)
        return self.join(maps.transpose(1, 2).flatten(2)) + self.positions


class PointsTower(Tower):
    """Point-BERT's groups and blocks, made small."""

    def __init__(self, config: PointsTowerConfig, shared_width: int) -> None:
        super().__init__()
        self.config = config
        self.points = PointTransformer(
            PointConfig(
                width=config.width,
                depth=config.point_depth,
                heads=config.heads,
                groups=config.groups,
                group_size=config.group_size,
                patch_widths=config.patch_widths,
                patch_output=config.patch_widths[-1],
                position_width=config.width // 2,
            )
        )
        self.reader = PhraseReader(config, shared_width)

    def preprocess(self, array: np.ndarray, rate: float | None) -> torch.Tensor:
        """A cloud -> float32 (N, 3), centred, of unit radius."""
        return preprocess_points(array, self.config.points)

    def embed_features(self, features: torch.Tensor) -> torch.Tensor:
        """Clouds (B, N, 3) -> tokens (B, 1 + groups, D)."""
        return self.points.tokens(features)


class VideoTower(Tower):
    """What an image reader sees in frames, and how the trunk's map changes from one to the next."""

    def __init__(self, config: VideoTowerConfig, shared_width: int) -> None:
        super().__init__()
        self.config, self.shared_width = config, shared_width
        self.things = nn.Linear(shared_width, config.width)
        self.changes = nn.Linear(config.channels * config.cells**2, config.width)
        self.positions = nn.Parameter(torch.randn(config.frames * (2 + config.objects), config.width) * 0.1)
        self.reader = PhraseReader(config, shared_width)

    def frames(self, video: np.ndarray) -> list[np.ndarray]:
        """The K frames that are looked at, evenly spaced over uint8 (F, H, W, 3). ValueError: not such a video."""
        video = np.asarray(video)
        if video.ndim != 4 or 0 in video.shape:
            raise ValueError(f"a video of shape {video.shape}: expected (frames, height, width, 3)")
        return [video[row] for row in np.linspace(0, len(video) - 1, self.config.frames).round().astype(int)]

    def changed(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps of each frame (B, K, C, h, w) -> their changes since the frame before, in cells: (B, K, C * cells^2)."""
        pooled = functional.adaptive_avg_pool2d(maps.flatten(0, 1), self.config.cells).flatten(1)
        pooled = pooled.view(*maps.shape[:2], -1)
        return functional.pad(pooled.diff(dim=1), (0, 0, 1, 0))

    def embed_features(self, features: torch.Tensor) -> torch.Tensor:
        """What was seen in each frame, (1 + Q) * E values and what changed, (B, K, values) -> tokens (B, T, D)."""
        seen, changed = features.split(((1 + self.config.objects) * self.shared_width, self.changes.in_features), -1)
        things = self.things(seen.unflatten(-1, (-1, self.shared_width)))  # (B, K, 1 + Q, D)
        return torch.cat((things, self.changes(changed)[:, :, None]), dim=2).flatten(1, 2) + self.positions


#: Modality -> its tower and the sizes of one.
TOWERS: dict[str, tuple[Callable[[Any, int], Tower], type[PhraseReaderConfig]]] = {
    "video": (VideoTower, VideoTowerConfig),
    "audio": (AudioTower, AudioTowerConfig),
    "points": (PointsTower, PointsTowerConfig),
}


def loudest_stretch(wave: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` samples of a wave (N,) that hold the most energy, the first of several; a short wave is padded."""
    if len(wave) <= count:
        return functional.pad(wave, (0, count - len(wave)))
    starts = torch.arange(0, len(wave) - count + 1, max(count // 16, 1))
    sums = functional.pad(wave.double().square().cumsum(0), (1, 0))
    start = int(starts[(sums[starts + count] - sums[starts]).argmax()])
    return wave[start : start + count]
