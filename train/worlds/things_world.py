"""The world of things: endless streams of media of named things.

Its captions are free English, read by a pretrained text encoder: no word has to be one token, and none is read back.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data import things
from train.worlds.base import ENDLESS, Keep, MediaStream, World


@dataclass(frozen=True)
class Making:
    """How the media of a modality are made: the ground truth from seed and index, words and media from it.

    ``bank`` is what has to be fetched before; ``files`` (patterns in the folder of data.things) are code and tables.
    """

    sample: Callable[..., Any]
    caption: Callable[..., str]
    render: Callable[..., np.ndarray]
    files: tuple[str, ...]
    bank: str = ""


_IMAGE = (
    "backgrounds.py",
    "captions.py",
    "catalogue.*",
    "rendering.py",
    "scenes.py",
    "sprites.py",
    "words.py",
    "sheets/*",
)
_VIDEO = (*_IMAGE, "animations.py", "motion.py", "motion_rendering.py")
MAKING = {
    "image": Making(things.sample, things.caption, things.render_image, _IMAGE),
    "video": Making(things.sample_video, things.video_caption, things.render_video, _VIDEO),
    "audio": Making(
        things.sounds.sample, things.sounds.caption, things.sounds.render_sound, ("words.py", "sounds/*.*"), "sounds"
    ),
    "points": Making(
        things.points.sample, things.points.caption, things.points.render_points, ("words.py", "points/*.*"), "models"
    ),
}


@dataclass(frozen=True)
class ThingsStream(MediaStream):
    """Item i shows scene i of the stream ``seed``; of 3D models, those that training never sees may be asked for."""

    modality: str
    seed: int
    held_out: bool = False

    def __len__(self) -> int:
        return 0 if self.missing else ENDLESS

    @property
    def missing(self) -> str:
        bank = MAKING[self.modality].bank
        return things.missing_bank(bank) if bank else ""

    @property
    def seconds(self) -> float:
        return things.sounds.SECONDS

    @property
    def key(self) -> str:
        return _source_hash(self.modality)[:10]

    def scene(self, index: int) -> Any:
        """The ground truth of item ``index``: Scene, VideoScene, SoundScene or PointScene of data.things."""
        making = MAKING[self.modality]
        if self.modality == "points":
            return making.sample(self.seed, index, models="held_out" if self.held_out else "train")
        return making.sample(self.seed, index)

    def medium(self, index: int, size: int = 128) -> np.ndarray:
        render, scene = MAKING[self.modality].render, self.scene(index)
        return render(scene, size) if self.modality in ("image", "video") else render(scene)

    def mask(self, index: int, size: int, frame: int | None = None, frames: int = 8) -> np.ndarray:
        scene = self.scene(index)
        return things.thing_mask(scene, size) if frame is None else things.video_mask(scene, frame, size, frames)

    def attributes(self, index: int) -> dict[str, Any]:
        return {}

    def caption(self, index: int, keep: Keep | None = None) -> str:
        return MAKING[self.modality].caption(self.scene(index))


class ThingsWorld(World):
    """Media of things. But for 3D models, what is held out is a matter of seeds: different seeds share no scene."""

    caption_words = ()
    readings = {}
    names = {}

    def stream(self, modality: str, seed: int, held_out: bool = False, variations: int = 1) -> ThingsStream:
        return ThingsStream(modality, seed, held_out)

    def random_caption(self, seed: int, index: int, keep: float) -> tuple[str, dict[str, Any]]:
        return things.caption(things.sample(seed, index)), {}

    def conversations(self, held_out: bool = False) -> int:
        return 0

    def conversation(self, seed: int, index: int, held_out: bool = False) -> list[dict[str, str]]:
        raise IndexError("the world of things has no conversations in words alone")

    def corpus(self, count: int) -> Iterator[str]:
        return (things.caption(things.sample(0, index)) for index in range(count))


@cache
def _source_hash(modality: str) -> str:
    """SHA-256 of the code, tables and sheets that make media: pools of them are made anew when they change."""
    folder = Path(things.__file__).parent
    files = sorted(path for pattern in MAKING[modality].files for path in folder.glob(pattern))
    animated = b"animated" if modality == "video" and things.has_bank("animations") else b""
    return hashlib.sha256(b"".join(path.read_bytes() for path in files) + animated).hexdigest()
