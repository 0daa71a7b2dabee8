"""What exists in Toybox: its things, their attributes, and the deterministic stream of scenes.

A :class:`Scene` is ground truth. The same scene can be rendered as any medium; each carries the part of
it that :func:`visible` returns.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

#: libyaml's loader reads a table in a few milliseconds; the one in Python is there on every machine.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def load_table(path: Path) -> dict[str, Any]:
    """The table in a YAML file, read once; it must not be changed."""
    return yaml.load(path.read_text(encoding="utf-8"), _LOADER)


#: attribute -> value -> the one word that stands for it in a tag caption, in the order in which captions name them.
TAGS: dict[str, dict[Any, str]] = load_table(Path(__file__).parent / "language" / "tags.yaml")
#: Every attribute and its values.
VALUES: dict[str, tuple] = {name: tuple(tags) for name, tags in TAGS.items()}
THINGS, COLOURS, COUNTS, SIZES, PLACES, BACKGROUNDS, MOTIONS, PITCHES, PACES, REPEATS = VALUES.values()
MODALITIES = ("image", "video", "audio", "points")

#: One pair a thing, two a colour: never in training, so that composition can be measured.
HELD_OUT_PAIRS = frozenset((thing, COLOURS[(3 * i + i // 8) % 8]) for i, thing in enumerate(THINGS))

#: What each medium shows of a scene, in the order in which captions name it.
CARRIES = {
    "image": ("thing", "colour", "count", "size", "place", "background"),
    "video": ("thing", "colour", "background", "motion"),
    "audio": ("thing", "pitch", "pace", "repeats"),
    "points": ("thing",),
}


@dataclass(frozen=True)
class Scene:
    """Everything true of one sample. ``jitter`` seeds the details that no caption names."""

    thing: str
    colour: str
    size: str
    place: str
    background: str
    count: int
    motion: str
    pitch: str
    pace: str
    repeats: int
    jitter: int

    def with_(self, **changes) -> "Scene":
        """The same scene with some attributes changed, e.g. ``scene.with_(colour="blue")``."""
        return _consistent(replace(self, **changes))


def visible(scene: Scene, modality: str) -> dict[str, str | int]:
    """The attributes of ``scene`` that a medium of ``modality`` carries."""
    if modality not in CARRIES:
        raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(CARRIES)}")
    return {name: getattr(scene, name) for name in CARRIES[modality]}


def sample(seed: int, index: int, pairs: str = "train") -> Scene:
    """Scene number ``index`` of the stream ``seed``. Needs no disk and no earlier scene.

    ``pairs`` is "train" (held-out thing-colour pairs never occur), "held_out" (only they occur) or "all".
    """
    rng = np.random.default_rng((seed, index, 0x70B0))
    return random_scene(rng, pairs)


def random_scene(rng: np.random.Generator, pairs: str = "train") -> Scene:
    """A scene drawn from ``rng``; see :func:`sample`."""
    if pairs not in ("train", "held_out", "all"):
        raise ValueError(f"unknown pairs {pairs!r}: expected train, held_out or all")
    thing, colour = _thing_and_colour(rng, pairs)
    count = int(rng.choice(COUNTS, p=(0.6, 0.2, 0.2)))
    names = ("size", "place", "background", "motion", "pitch", "pace")
    named = {name: str(rng.choice(VALUES[name])) for name in names}
    repeats, jitter = int(rng.choice(REPEATS)), int(rng.integers(2**31))
    return _consistent(Scene(thing=thing, colour=colour, count=count, repeats=repeats, jitter=jitter, **named))


@cache
def source_hash() -> str:
    """sha256 of the code and the tables that make the world: what is kept of its media is made anew when it changes."""
    files = sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".yaml"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _thing_and_colour(rng: np.random.Generator, pairs: str) -> tuple[str, str]:
    if pairs == "held_out":
        ordered = sorted(HELD_OUT_PAIRS)
        return ordered[int(rng.integers(len(ordered)))]
    while True:
        pair = str(rng.choice(THINGS)), str(rng.choice(COLOURS))
        if pairs == "all" or pair not in HELD_OUT_PAIRS:
            return pair


def _consistent(scene: Scene) -> Scene:
    """Several things stand small and in a row across the centre: the image has no room for more."""
    return replace(scene, size="small", place="centre") if scene.count > 1 else scene
