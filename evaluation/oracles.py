"""Oracles: small classifiers, trained apart from the model, that say what a picture, film or sound shows.

They share no code and no weights with the model that they judge, and are used for scoring only.

    from evaluation.oracles import Oracle
    Oracle.from_pretrained("image").predict([picture])   # [{"thing": "bell", "colour": "red", ...}]

Shapes: B batch, C channels, F frames, N audio samples, M mel bands, T mel frames.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from data import toybox
from data.toybox import world

WEIGHTS = Path(__file__).parent / "weights"
MODALITIES = ("image", "video", "audio")
CLASSES: dict[str, tuple] = {
    "thing": world.THINGS,
    "colour": world.COLOURS,
    "size": world.SIZES,
    "place": world.PLACES,
    "background": world.BACKGROUNDS,
    "count": world.COUNTS,
    "motion": world.MOTIONS,
    "pitch": world.PITCHES,
    "pace": world.PACES,
    "repeats": world.REPEATS,
}
SAMPLE_RATE = 16_000
SAMPLES = 32_000
FRAMES = 8


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch norm, SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)
    )


class Residual(nn.Module):
    """x + two convolutions of x."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.body(features)


class Summary(nn.Module):
    """What is there (mean and maximum over the map) and where (a thin copy of the map itself), as one vector."""

    def __init__(self, channels: int, height: int, width: int, thin: int, outputs: int):
        super().__init__()
        self.thin = nn.Conv2d(channels, thin, 1)
        self.mix = nn.Sequential(
            nn.Linear(2 * channels + thin * height * width, outputs), nn.SiLU(inplace=True), nn.Dropout(0.1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        what = torch.cat((features.mean((2, 3)), features.amax((2, 3))), 1)  # (B, 2C)
        return self.mix(torch.cat((what, self.thin(features).flatten(1)), 1))  # (B, outputs)


class ImageTrunk(nn.Module):
    """(B, 3, 128, 128) in [-1, 1] -> (B, 128)."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            convolution(3, width, 2),
            convolution(width, 2 * width, 2),
            convolution(2 * width, 3 * width, 2),
            Residual(3 * width),
            convolution(3 * width, 4 * width, 2),
        )
        self.summary = Summary(4 * width, 8, 8, 8, 128)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.summary(self.body(images.contiguous(memory_format=torch.channels_last)))


class VideoTrunk(nn.Module):
    """(B, F, 3, 64, 64) in [-1, 1] -> (B, 128): each frame beside its change, then all frames' maps together."""

    def __init__(self, width: int):
        super().__init__()
        self.frame = nn.Sequential(
            convolution(6, width, 2), convolution(width, 2 * width, 2), convolution(2 * width, 3 * width, 2)
        )
        self.thin = convolution(3 * width, 16)
        self.time = nn.Sequential(convolution(FRAMES * 16, 3 * width), Residual(3 * width))
        self.summary = Summary(6 * width, 8, 8, 8, 128)

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        batch = videos.shape[0]
        change = videos - videos.roll(1, dims=1)  # the first frame against the last: how far it all went
        frames = torch.cat((videos, change), 2).flatten(0, 1)  # (B F, 6, 64, 64)
        maps = self.frame(frames.contiguous(memory_format=torch.channels_last))  # (B F, C, 8, 8)
        course = self.time(self.thin(maps).reshape(batch, FRAMES * 16, 8, 8))  # (B, C, 8, 8)
        return self.summary(torch.cat((maps.unflatten(0, (batch, FRAMES)).mean(1), course), 1))


class AudioTrunk(nn.Module):
    """(B, 1, M, T) log-mel -> (B, 128). Frequency and time keep their places, for pitch and for pace."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            convolution(1, width, 2),
            convolution(width, 2 * width, 2),
            Residual(2 * width),
            convolution(2 * width, 3 * width, 2),
        )
        self.summary = Summary(3 * width, 8, 16, 8, 128)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        return self.summary(self.body(mels.contiguous(memory_format=torch.channels_last)))


TRUNKS = {"image": ImageTrunk, "video": VideoTrunk, "audio": AudioTrunk}
WIDTHS = {"image": 24, "video": 24, "audio": 24}


def mel_filters(bands: int = 64, points: int = 1024, low: float = 40.0, high: float = 8000.0) -> torch.Tensor:
    """Triangular filters, evenly spaced on the mel scale: (points // 2 + 1, bands)."""
    edges = np.linspace(1127 * math.log1p(low / 700), 1127 * math.log1p(high / 700), bands + 2)
    edges = 700 * np.expm1(edges / 1127)
    grid = np.linspace(0, SAMPLE_RATE / 2, points // 2 + 1)[:, None]
    rise = (grid - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - grid) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rise, fall), 0, None)).float()


def log_mel(waves: torch.Tensor) -> torch.Tensor:
    """(B, 32000) in [-1, 1] at 16 kHz -> (B, 64, 128): log10 mel amplitude between -4 and about 2."""
    spectrum = torch.stft(waves, 1024, 250, window=torch.hann_window(1024), return_complex=True).abs()
    mel = torch.einsum("bft,fm->bmt", spectrum, mel_filters())  # (B, 64, 129)
    return torch.log10(mel.clamp_min(1e-4))[:, :, :128]


class OracleNetwork(nn.Module):
    """One trunk, one linear head an attribute that the medium carries.

    ``forward(inputs, labels)`` returns ``{"loss"}``: the mean cross-entropy of the heads; labels (B, heads).
    """

    def __init__(self, modality: str, width: int | None = None):
        super().__init__()
        if modality not in MODALITIES:
            raise ValueError(f"no oracle for {modality!r}: expected one of {', '.join(MODALITIES)}")
        self.modality = modality
        self.width = width or WIDTHS[modality]
        self.trunk = TRUNKS[modality](self.width)
        self.heads = nn.ModuleDict({name: nn.Linear(128, len(CLASSES[name])) for name in world.CARRIES[modality]})

    def logits(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """{attribute: (B, classes)} for prepared inputs, see :func:`prepare`."""
        features = self.trunk(inputs)
        return {name: head(features).float() for name, head in self.heads.items()}

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = {
            name: F.cross_entropy(scores, labels[:, column], label_smoothing=0.02)
            for column, (name, scores) in enumerate(self.logits(inputs).items())
        }
        return {"loss": torch.stack(list(losses.values())).mean(), **{k: v.detach() for k, v in losses.items()}}


def label(scene: world.Scene, modality: str) -> list[int]:
    """Class numbers of what ``modality`` shows of ``scene``, in the order of the heads."""
    return [CLASSES[name].index(value) for name, value in world.visible(scene, modality).items()]


def prepare(modality: str, arrays: list[np.ndarray]) -> torch.Tensor:
    """Raw media, as the renderers and decoders give them, to network inputs.

    image uint8 (H, W, 3) -> (B, 3, 128, 128); video uint8 (F, H, W, 3) -> (B, 8, 3, 64, 64);
    audio float32 (N,) at 16 kHz -> (B, 64, 128).
    """
    if modality == "audio":
        waves = [np.pad(array[:SAMPLES], (0, max(0, SAMPLES - len(array)))) for array in arrays]
        return scale_mel(log_mel(torch.from_numpy(np.stack(waves)).float()))
    if modality == "image":
        return scale_pixels(torch.cat([resize(torch.from_numpy(array).movedim(-1, 0)[None], 128) for array in arrays]))
    videos = [array[np.linspace(0, len(array) - 1, FRAMES).round().astype(int)] for array in arrays]
    return scale_pixels(torch.stack([resize(torch.from_numpy(video).movedim(-1, 1), 64) for video in videos]))


def resize(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, size, size) float in 0..255, by area."""
    return F.interpolate(pixels.float(), (size, size), mode="area")


def scale_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """0..255 -> -1..1."""
    return pixels / 127.5 - 1


def scale_mel(mels: torch.Tensor) -> torch.Tensor:
    """(B, M, T) log10 amplitudes -> (B, 1, M, T) about -1..1, quiet and loud sounds brought together."""
    loudest = mels.flatten(1).amax(1).clamp_min(-2.5)[:, None, None]  # silence stays silent
    return ((mels - loudest + 1.5).clamp_min(-1.5) / 1.5)[:, None]


class Oracle:
    """A trained oracle. ``predict`` answers for any number of media of its modality."""

    def __init__(self, network: OracleNetwork):
        self.network = network.eval()
        self.modality = network.modality

    @torch.inference_mode()
    def predict(self, arrays: list[np.ndarray], batch_size: int = 32) -> list[dict[str, str | int]]:
        """One {attribute: value} for each array (forms: :func:`prepare`)."""
        answers = []
        for start in range(0, len(arrays), batch_size):
            scores = self.network.logits(prepare(self.modality, arrays[start : start + batch_size]))
            best = {name: values.argmax(1).tolist() for name, values in scores.items()}
            count = len(next(iter(best.values())))
            answers += [{name: CLASSES[name][best[name][row]] for name in best} for row in range(count)]
        return answers

    def save_pretrained(self, folder: Path) -> None:
        """Write ``<modality>.safetensors`` (fp16) and ``<modality>.json``, each aside first and then renamed."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            name: (value.half() if value.is_floating_point() else value).contiguous()
            for name, value in self.network.state_dict().items()
        }
        config = {"modality": self.modality, "width": self.network.width, "heads": list(self.network.heads)}
        aside = folder / f".{self.modality}.aside"
        save_file(weights, aside)
        os.replace(aside, folder / f"{self.modality}.safetensors")
        aside.write_text(json.dumps(config, indent=2) + "\n")
        os.replace(aside, folder / f"{self.modality}.json")

    @classmethod
    def from_pretrained(cls, modality: str, folder: Path = WEIGHTS) -> Oracle:
        """The oracle of ``modality`` in ``folder``. ValueError where its heads are not those of this world."""
        config = json.loads((folder / f"{modality}.json").read_text())
        network = OracleNetwork(config["modality"], config["width"])
        if config["heads"] != list(network.heads):
            raise ValueError(f"{modality} oracle judges {config['heads']}, the world carries {list(network.heads)}")
        weights = load_file(folder / f"{modality}.safetensors")
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
        return cls(network)


def scenes(seed: int, count: int) -> list[world.Scene]:
    """The first ``count`` scenes of a stream, held-out pairs included."""
    return [world.sample(seed, index, "all") for index in range(count)]


def accuracy(oracle: Oracle, seed: int, count: int) -> dict[str, float]:
    """{attribute: share right} over real renders of the first ``count`` scenes of stream ``seed``."""
    drawn = scenes(seed, count)
    answers = []
    for start in range(0, count, 32):
        answers += oracle.predict([toybox.render(scene, oracle.modality) for scene in drawn[start : start + 32]])
    pairs = list(zip(answers, drawn, strict=True))
    names = world.CARRIES[oracle.modality]
    return {name: sum(answer[name] == getattr(scene, name) for answer, scene in pairs) / count for name in names}
