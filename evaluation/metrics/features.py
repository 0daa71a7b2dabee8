"""Named networks and descriptors that turn media into features (N, D), to compare sets of media and single ones.

None of them is a part of the models that are measured: the model's own encoder has chosen among candidates, and is
never asked how good its choice was.

    descriptor     image, video, audio, points   gradients and colours, mel spectra, distances: nothing is trained
    oracle         image, video, audio           trunk of Toybox's oracles, for models of Toybox
    inception      image, video                  Inception v3 of FID, from a file of weights (--features inception=FILE)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from data.atomic import hash_file
from data.resampling import resample
from encoders.preprocessing.audio import as_wave
from evaluation.classifiers import SAMPLE_RATE, SAMPLES, log_mel, resize

#: What a medium is to a feature network: its array and, of audio and video, its rate.
Medium = tuple[np.ndarray, float | None]


class Features(ABC):
    """One network or descriptor of one modality."""

    name: str
    hash: str = ""  #: of its weights; empty where nothing is trained

    @abstractmethod
    def __call__(self, media: Sequence[Medium]) -> np.ndarray:
        """(N, D) float64."""


class Descriptor(Features):
    """Features that nothing was trained for. They see gross likeness: layout, colours, timbre, course, shape."""

    def __init__(self, modality: str) -> None:
        self.name, self._of = f"descriptor_{modality}", DESCRIBE[modality]

    def __call__(self, media: Sequence[Medium]) -> np.ndarray:
        return np.stack([self._of(*medium) for medium in media]).astype(np.float64)


class OracleFeatures(Features):
    """The 128 features below the heads of Toybox's oracle of a modality."""

    def __init__(self, modality: str) -> None:
        from evaluation.toybox.oracles import WEIGHTS, Oracle

        self.name, self.oracle = f"toybox_oracle_{modality}", Oracle.from_pretrained(modality)
        self.hash = hash_file(WEIGHTS / f"{modality}.safetensors")

    @torch.inference_mode()
    def __call__(self, media: Sequence[Medium]) -> np.ndarray:
        from evaluation.toybox.oracles import prepare

        modality = self.oracle.modality
        arrays = [mono(*medium) if modality == "audio" else medium[0] for medium in media]
        parts = [
            self.oracle.network.trunk(prepare(modality, arrays[start : start + 32]))
            for start in range(0, len(arrays), 32)
        ]
        return torch.cat(parts).double().numpy()


class InceptionFeatures(Features):
    """The 2,048 features of FID's Inception v3, by torchmetrics, from its published file of weights."""

    def __init__(self, path: Path) -> None:
        try:
            from torchmetrics.image.fid import NoTrainInceptionV3  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError("the features inception need pip install '.[eval]'") from error
        if not path.is_file():
            raise ValueError(f"there is no file {path} of Inception's weights")
        self.name, self.hash = "inception_v3", hash_file(path)
        self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path)).eval()

    @torch.inference_mode()
    def __call__(self, media: Sequence[Medium]) -> np.ndarray:
        frames = [array if array.ndim == 3 else array[len(array) // 2] for array, _ in media]
        rows = [self.network(torch.from_numpy(frame).movedim(-1, 0)[None]) for frame in frames]
        return torch.cat(rows).double().numpy()


def features_of(name: str, modality: str) -> Features | None:
    """ "descriptor", "oracle" or "inception=FILE", for a modality; None where these features do not read it. ValueError
    for others, whatever the modality: features that are not there are found before anything is answered or drawn."""
    kind, _, path = name.partition("=")
    if kind not in READ or (kind == "inception") != bool(path):
        raise ValueError(f"unknown features {name!r}: expected descriptor, oracle or inception=FILE")
    if modality not in READ[kind]:
        return None
    makers: dict[str, Callable[[], Features]] = {
        "descriptor": lambda: Descriptor(modality),
        "oracle": lambda: OracleFeatures(modality),
        "inception": lambda: InceptionFeatures(Path(path)),
    }
    return makers[kind]()


def mono(array: np.ndarray, rate: float | None) -> np.ndarray:
    """Audio of any rate and channels as float32 (N,) at 16 kHz."""
    return resample(as_wave(array), round(rate or SAMPLE_RATE), SAMPLE_RATE)[0].numpy()


# -- descriptors -----------------------------------------------------------------------------------------------------


def describe_image(array: np.ndarray, rate: float | None = None) -> np.ndarray:
    """Histograms of gradients in 8 x 8 cells and a thumbnail of colours: (704,)."""
    pixels = resize(torch.from_numpy(np.array(array)).movedim(-1, 0)[None], 64) / 255  # (1, 3, 64, 64)
    grey = pixels.mean(1)[0]
    down, across = torch.gradient(grey)
    strength, angle = (down**2 + across**2).sqrt(), torch.atan2(down, across).remainder(torch.pi)
    bins = F.one_hot((angle / torch.pi * 8).long().clamp(0, 7), 8).movedim(-1, 0) * strength  # (8, 64, 64)
    cells = F.avg_pool2d(bins[None], 8)[0]  # (8, 8, 8)
    gradients = (cells / (cells.norm() + 1e-6)).flatten()
    colours = F.avg_pool2d(pixels, 8).flatten() - 0.5
    return torch.cat((gradients, colours / (colours.norm() + 1e-6))).numpy()


def describe_video(array: np.ndarray, rate: float | None = None) -> np.ndarray:
    """The descriptors of four frames, one after another: (2816,)."""
    places = np.linspace(0, len(array) - 1, 4).round().astype(int)
    return np.concatenate([describe_image(array[place]) for place in places])


def describe_audio(array: np.ndarray, rate: float | None = None) -> np.ndarray:
    """Mean and deviation of each mel band over time, and the course of loudness in 32 steps: (160,)."""
    wave = mono(array, rate)
    wave = np.pad(wave[:SAMPLES], (0, max(0, SAMPLES - len(wave))))
    mel = log_mel(torch.from_numpy(wave)[None])[0] + 4  # (64, 128), 0 where it is silent
    course = F.avg_pool1d(mel.mean(0)[None], 4)[0]
    return torch.cat((mel.mean(1), mel.std(1), course)).numpy()


def describe_points(array: np.ndarray, rate: float | None = None) -> np.ndarray:
    """Distances of pairs of points, brought to one size, as a histogram, and the extents: (67,)."""
    points = array[:, :3].astype(np.float64)
    points = points - points.mean(0)
    points /= np.linalg.norm(points, axis=1).max() + 1e-9
    rng = np.random.default_rng(0)
    one, other = rng.integers(len(points), size=(2, 4096))
    lengths = np.linalg.norm(points[one] - points[other], axis=1)
    histogram = np.histogram(lengths, 64, (0, 2))[0] / len(lengths)
    return np.concatenate((histogram, np.sort(np.ptp(points, axis=0)) / 2))


DESCRIBE: dict[str, Callable[..., Any]] = {
    "image": describe_image,
    "video": describe_video,
    "audio": describe_audio,
    "points": describe_points,
}
#: Kind of features -> the modalities that they read.
READ = {"descriptor": tuple(DESCRIBE), "oracle": ("image", "video", "audio"), "inception": ("image", "video")}
