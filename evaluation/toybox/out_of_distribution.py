"""Out-of-distribution media: photographs and recordings, which a model of Toybox should decline.

They are the sample media of the gradio package, which the demo needs anyway: random crops of its photographs and random
cuts of its recordings, each at the size and rate that Toybox has.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from evaluation.classifiers import SAMPLE_RATE, SAMPLES

IMAGE_SIZE = 128
#: Drawings and logos are left out: a cartoon of a thing of Toybox may rightly be named.
PHOTOGRAPHS = ("bus.png", "cheetah.jpg", "cheetah1.jpg", "groot.jpeg", "lion.jpg", "tower.jpg", "avatar.png")
RECORDINGS = (
    "audio_sample.wav", "cantina.wav", "cate_blanch.mp3", "cate_blanch_2.mp3",
    "heath_ledger.mp3", "recording1.wav", "sax.wav",
)  # fmt: skip


def sample_medium(modality: str, seed: int, index: int) -> tuple[np.ndarray, float | None]:
    """(array, rate) of a photograph or a recording."""
    return (photograph(seed, index), None) if modality == "image" else (recording(seed, index), float(SAMPLE_RATE))


def find_files(names: tuple[str, ...], folder: str) -> list[Path]:
    """The files of these names that the installed gradio has. ValueError where it has none."""
    spec = find_spec("gradio")
    if spec is None or spec.origin is None:
        raise ValueError("gradio is not installed: its sample media are needed")
    media = Path(spec.origin).parent / "media_assets" / folder
    paths = [media / name for name in names if (media / name).is_file()]
    if not paths:
        raise ValueError(f"none of {', '.join(names)} is in {media}")
    return paths


def photograph(seed: int, index: int) -> np.ndarray:
    """A random square of a photograph, uint8 (128, 128, 3)."""
    rng = np.random.default_rng((seed, index, 0xF070))
    paths = find_files(PHOTOGRAPHS, "images")
    with Image.open(paths[index % len(paths)]) as opened:
        image = opened.convert("RGB")
    side = int(min(image.size) * rng.uniform(0.5, 1.0))
    left, top = (int(rng.integers(length - side + 1)) for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS))


@lru_cache
def recording_mono(path: Path) -> tuple[np.ndarray, int]:
    """The first minute of a recording, one channel, and its rate."""
    with soundfile.SoundFile(path) as opened:
        rate = opened.samplerate
        return opened.read(60 * rate, dtype="float32", always_2d=True).mean(1), rate


def recording(seed: int, index: int) -> np.ndarray:
    """Two seconds of a recording at 16 kHz, float32 (32000,): the loudest of four random cuts."""
    rng = np.random.default_rng((seed, index, 0xA0D1))
    paths = find_files(RECORDINGS, "audio")
    wave, rate = recording_mono(paths[index % len(paths)])
    length = min(2 * rate, len(wave))
    starts = rng.integers(len(wave) - length + 1, size=4)
    cut = max((wave[start : start + length] for start in starts), key=lambda part: float(np.square(part).mean()))
    return resampled(np.pad(cut, (0, 2 * rate - length)), SAMPLES)


def resampled(wave: np.ndarray, samples: int) -> np.ndarray:
    """The same two seconds in ``samples`` samples, by cutting or extending the spectrum."""
    return np.clip(np.fft.irfft(np.fft.rfft(wave), samples) * samples / len(wave), -1, 1).astype(np.float32)
