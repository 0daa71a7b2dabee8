"""Animations of things: each a loop of 16 frames, drawn by the makers of the pictures, for some 65 of the things.

Shapes: F = 16 frames of S x S = 128 pixels.
"""

import tarfile
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from data.things.catalogue import catalogue
from data.things.sources import bank_folder, has_bank
from data.things.sprites import SIDE

FRAMES = 16
_COLUMNS = 4


def animated_things() -> list[str]:
    """Names of the things that have an animation, in the catalogue's order; none where the bank is not there."""
    return _animated() if has_bank("animations") else []


@cache
def _animated() -> list[str]:
    codes = {path.stem for path in bank_folder("animations").glob("*.webp")}
    return [thing.name for thing in catalogue().values() if thing.code in codes]


@lru_cache(maxsize=256)  # 1 MB each
def animation(name: str) -> list[Image.Image]:
    """The frames of a thing's animation, F RGBA images of S x S. BankMissing where the bank is not there."""
    sheet = Image.open(bank_folder("animations") / f"{catalogue()[name].code}.webp").convert("RGBA")
    corners = [(index % _COLUMNS * SIDE, index // _COLUMNS * SIDE) for index in range(FRAMES)]
    return [sheet.crop((left, top, left + SIDE, top + SIDE)) for left, top in corners]


def build_animations(files: Path, out: Path) -> None:
    """Write a sheet of 4 x 4 frames for each thing that has an animation."""
    codes = {thing.code for thing in catalogue().values()}
    with tarfile.open(next(files.glob("*.tgz"))) as archive:
        for member in archive:
            path = Path(member.name)
            if path.stem in codes and path.suffix == ".webp" and (content := archive.extractfile(member)):
                frames = _frames(content.read())
                if frames:
                    _sheet(frames).save(out / path.name, quality=90, method=2)


def _frames(content: bytes) -> list[Image.Image]:
    """F frames at even times, fitted into S x S; none of a picture that does not move."""
    shown, durations = [], []
    for frame in ImageSequence.Iterator(Image.open(BytesIO(content))):
        shown.append(frame.convert("RGBA"))
        durations.append(frame.info.get("duration", 40) or 40)
    if len(shown) == 1:
        return []
    ends = np.cumsum(durations)
    times = (np.arange(FRAMES) + 0.5) / FRAMES * ends[-1]
    chosen = [shown[int(index)] for index in np.searchsorted(ends, times)]
    return [frame.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for frame in chosen]


def _sheet(frames: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGBA", (_COLUMNS * SIDE, FRAMES // _COLUMNS * SIDE))
    for index, frame in enumerate(frames):
        sheet.paste(frame, (index % _COLUMNS * SIDE, index // _COLUMNS * SIDE))
    return sheet
