"""Oracles: small classifiers, trained apart from the model, that name Toybox's attributes of an image, video or audio.

They share no code and no weights with the model that they judge, and are used for scoring only.

    from evaluation.toybox.oracles import Oracle
    Oracle.from_pretrained("image").predict([image])   # [{"thing": "bell", "colour": "red", ...}]

Shapes: B batch, C channels, F frames, H height, W width, N audio samples, M mel bands, T mel frames.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from data import toybox
from evaluation.classifiers import Residual, audio_inputs, convolution, image_inputs, save_classifier

WEIGHTS = Path(__file__).parents[1] / "weights"
MODALITIES = ("image", "video", "audio")
FRAMES = 8
FEATURES = 128


class Summary(nn.Module):
    """What is there (mean and maximum over the map) and where (the map itself in few channels), as one vector."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.thin = nn.Conv2d(channels, 8, 1)
        inputs = 2 * channels + 8 * height * width
        self.mix = nn.Sequential(nn.Linear(inputs, FEATURES), nn.SiLU(inplace=True), nn.Dropout(0.1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        what = torch.cat((features.mean((2, 3)), features.amax((2, 3))), 1)  # (B, 2C)
        return self.mix(torch.cat((what, self.thin(features).flatten(1)), 1))  # (B, FEATURES)


class MapTrunk(nn.Module):
    """An image or a log-mel (B, C, H, W) -> (B, 128): layers, then their maps' summary."""

    def __init__(self, layers: Sequence[nn.Module], channels: int, height: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)
        self.summary = Summary(channels, height, width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.summary(self.body(maps.contiguous(memory_format=torch.channels_last)))


def image_trunk(width: int) -> MapTrunk:
    """(B, 3, 128, 128) in [-1, 1] -> (B, 128)."""
    layers = [
        convolution(3, width, 2),
        convolution(width, 2 * width, 2),
        convolution(2 * width, 3 * width, 2),
        Residual(3 * width),
        convolution(3 * width, 4 * width, 2),
    ]
    return MapTrunk(layers, 4 * width, 8, 8)


def audio_trunk(width: int) -> MapTrunk:
    """(B, 1, 64, 128) log-mel -> (B, 128). Frequency and time keep their places, for pitch and for pace."""
    layers = [
        convolution(1, width, 2),
        convolution(width, 2 * width, 2),
        Residual(2 * width),
        convolution(2 * width, 3 * width, 2),
    ]
    return MapTrunk(layers, 3 * width, 8, 16)


class VideoTrunk(nn.Module):
    """(B, F, 3, 64, 64) in [-1, 1] -> (B, 128): each frame beside its change, then all frames' maps together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            convolution(6, width, 2), convolution(width, 2 * width, 2), convolution(2 * width, 3 * width, 2)
        )
        self.thin = convolution(3 * width, 16)
        self.time = nn.Sequential(convolution(FRAMES * 16, 3 * width), Residual(3 * width))
        self.summary = Summary(6 * width, 8, 8)

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        batch = videos.shape[0]
        change = videos - videos.roll(1, dims=1)  # the first frame against the last: the whole motion
        frames = torch.cat((videos, change), 2).flatten(0, 1)  # (B F, 6, 64, 64)
        maps = self.frame(frames.contiguous(memory_format=torch.channels_last))  # (B F, C, 8, 8)
        course = self.time(self.thin(maps).reshape(batch, FRAMES * 16, 8, 8))  # (B, C, 8, 8)
        return self.summary(torch.cat((maps.unflatten(0, (batch, FRAMES)).mean(1), course), 1))


TRUNKS: dict[str, Callable[[int], nn.Module]] = {"image": image_trunk, "video": VideoTrunk, "audio": audio_trunk}
WIDTH = 24


class OracleNetwork(nn.Module):
    """One trunk, and one linear head for each attribute that the medium carries.

    ``forward(inputs, labels)`` returns ``{"loss"}``: the mean cross-entropy of the heads; labels (B, heads).
    """

    def __init__(self, modality: str, width: int | None = None) -> None:
        super().__init__()
        if modality not in MODALITIES:
            raise ValueError(f"no oracle for {modality!r}: expected one of {', '.join(MODALITIES)}")
        self.modality = modality
        self.width = width or WIDTH
        self.trunk = TRUNKS[modality](self.width)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(128, len(toybox.VALUES[name])) for name in toybox.CARRIES[modality]}
        )

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


def label(scene: toybox.Scene, modality: str) -> list[int]:
    """Class numbers of what ``modality`` shows of ``scene``, in the order of the heads."""
    return [toybox.VALUES[name].index(value) for name, value in toybox.visible(scene, modality).items()]


def prepare(modality: str, arrays: Sequence[np.ndarray]) -> torch.Tensor:
    """Media, as renderers and decoders give them, to network inputs.

    image uint8 (H, W, 3) -> (B, 3, 128, 128); video uint8 (F, H, W, 3) -> (B, 8, 3, 64, 64);
    audio float32 (N,) at 16 kHz -> (B, 1, 64, 128).
    """
    if modality == "audio":
        return audio_inputs(arrays)
    if modality == "image":
        return image_inputs(arrays, 128)
    videos = [array[np.linspace(0, len(array) - 1, FRAMES).round().astype(int)] for array in arrays]
    return torch.stack([image_inputs(list(video), 64) for video in videos])


class Oracle:
    """A trained oracle. ``predict`` answers for any number of media of its modality."""

    def __init__(self, network: OracleNetwork) -> None:
        self.network = network.eval()
        self.modality = network.modality

    @torch.inference_mode()
    def probabilities(self, arrays: Sequence[np.ndarray], batch_size: int = 32) -> dict[str, torch.Tensor]:
        """{attribute: (count, values)} of arrays (forms: :func:`prepare`)."""
        parts = [
            self.network.logits(prepare(self.modality, arrays[start : start + batch_size]))
            for start in range(0, len(arrays), batch_size)
        ]
        return {name: torch.cat([part[name] for part in parts]).softmax(1) for name in self.network.heads}

    def predict(self, arrays: Sequence[np.ndarray], batch_size: int = 32) -> list[dict[str, str | int]]:
        """One {attribute: value} for each array, the likeliest (forms: :func:`prepare`)."""
        if not arrays:
            return []
        best = {name: chances.argmax(1).tolist() for name, chances in self.probabilities(arrays, batch_size).items()}
        return [{name: toybox.VALUES[name][best[name][row]] for name in best} for row in range(len(arrays))]

    def save_pretrained(self, folder: Path) -> None:
        """Write ``<modality>.safetensors`` (fp16) and ``<modality>.json``."""
        state = self.network.state_dict()
        weights = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        config = {"modality": self.modality, "width": self.network.width, "heads": list(self.network.heads)}
        save_classifier(folder, self.modality, weights, config)

    @classmethod
    def from_pretrained(cls, modality: str, folder: Path = WEIGHTS) -> Self:
        """The oracle of ``modality`` in ``folder``. ValueError where its heads are not those of Toybox."""
        config = json.loads((folder / f"{modality}.json").read_text())
        network = OracleNetwork(config["modality"], config["width"])
        if config["heads"] != list(network.heads):
            raise ValueError(f"{modality} oracle judges {config['heads']}, Toybox has {list(network.heads)}")
        weights = load_file(folder / f"{modality}.safetensors")
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
        return cls(network)


def scenes(seed: int, count: int) -> list[toybox.Scene]:
    """The first ``count`` scenes of a stream, held-out pairs included."""
    return [toybox.sample(seed, index, "all") for index in range(count)]


def accuracy(oracle: Oracle, seed: int, count: int) -> dict[str, float]:
    """{attribute: share right} over real renders of the first ``count`` scenes of stream ``seed``."""
    drawn = scenes(seed, count)
    answers = []
    for start in range(0, count, 32):
        answers += oracle.predict([toybox.render(scene, oracle.modality) for scene in drawn[start : start + 32]])
    pairs = list(zip(answers, drawn, strict=True))
    names = toybox.CARRIES[oracle.modality]
    return {name: sum(answer[name] == getattr(scene, name) for answer, scene in pairs) / count for name in names}
