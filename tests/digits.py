"""Ten digits as pictures and tones with a table of labels: what the tests of one's own data import. No download."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.media.loading import Medium
from data.media.saving import save_medium

RATE = 8_000
WORDS = Path(__file__).parents[1] / "docs/digits.yaml"


def write_digits(folder: Path, train: int = 3, test: int = 1, labels: str = "0123456789") -> Path:
    """``labels.csv`` with, of every label and modality, so many files to train on and to test on."""
    for name in ("images", "audio"):
        (folder / name).mkdir(parents=True)
    rows = []
    for label in labels:
        for number in range(train + test):
            split = "train" if number < train else "test"
            image, sound = f"images/{label}_{number}.png", f"audio/{label}_{number}.wav"
            save_medium(Medium("image", picture(label, number)), folder / image)
            save_medium(Medium("audio", tone(label, number), RATE), folder / sound)
            rows += [(image, "image", label, split), (sound, "audio", label, split)]
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "modality", "digit", "split"), *rows])
    return folder / "labels.csv"


def picture(label: str, number: int) -> np.ndarray:
    """A printed digit, uint8 (28, 28, 3), white on black, shifted a little."""
    rng = np.random.default_rng((int(label), number))
    image = Image.new("RGB", (28, 28))
    left, top = (int(value) for value in rng.integers(6, 10, 2))
    ImageDraw.Draw(image).text((left, top - 4), label, fill="white", font=ImageFont.load_default(18))
    return np.asarray(image)


def tone(label: str, number: int) -> np.ndarray:
    """A third of a second of a pitch of its own, float32."""
    rng = np.random.default_rng((int(label), number))
    time = np.arange(int(RATE * rng.uniform(0.3, 0.4))) / RATE
    return (0.5 * np.sin(2 * np.pi * 200 * 1.25 ** int(label) * time)).astype(np.float32)
