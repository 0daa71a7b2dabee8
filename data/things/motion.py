"""Videos: scenes of one or two things that move, drawn from a seed, with exact ground truth and a caption.

a red car that moves to the right, in the desert
a cat on the left that spins and a green dog on the right that bounces
an animated penguin
"""

from dataclasses import dataclass, replace

import numpy as np

from data.things.animations import animated_things
from data.things.backgrounds import PLACES
from data.things.captions import BACKGROUNDS, Naming, first_name, noun
from data.things.scenes import Placed, coloured, pool
from data.things.sources import bank_folder
from data.things.words import with_article

#: Motion -> what a thing does, in English and Chinese.
MOTIONS: dict[str, dict[str, str]] = {
    "right": {"en": "moves to the right", "zh": "从左向右移动"},
    "left": {"en": "moves to the left", "zh": "从右向左移动"},
    "up": {"en": "rises", "zh": "上升"},
    "down": {"en": "falls", "zh": "落下"},
    "grow": {"en": "grows", "zh": "变大"},
    "shrink": {"en": "shrinks", "zh": "变小"},
    "spin": {"en": "spins", "zh": "旋转"},
    "bounce": {"en": "bounces", "zh": "弹跳"},
    "shake": {"en": "shakes", "zh": "摇晃"},
    "circle": {"en": "moves in a circle", "zh": "绕圈移动"},
    "appear": {"en": "appears", "zh": "慢慢出现"},
    "flip": {"en": "flips over", "zh": "翻转"},
    "stay": {"en": "stands still", "zh": "静止不动"},
}
#: The motion of the things' own animations, and its word.
ANIMATED = "animated"
#: Motions that need the whole width: one thing alone makes them.
WIDE = ("right", "left", "circle")
_TWO, _ANIMATED, _BACKGROUND = 0.2, 0.15, 0.5


@dataclass(frozen=True)
class Moving:
    """A thing, where it stands in the middle of its motion and how large, and a motion of MOTIONS or ANIMATED."""

    placed: Placed
    motion: str


@dataclass(frozen=True)
class VideoScene:
    """What a video shows: one thing, or two from left to right; a place of PLACES, or "" for a plain background.

    ``jitter`` seeds what no caption names.
    """

    moving: tuple[Moving, ...]
    background: str
    jitter: int

    def with_(self, **changes) -> "VideoScene":
        """The same scene with some attributes changed."""
        return replace(self, **changes)


def sample(seed: int, index: int, motion: str = "", things: str = "train", pairs: str = "train") -> VideoScene:
    """Video number ``index`` of the stream ``seed``; it depends on these and on the bank of animations alone.

    ``motion`` chooses that of one thing, "" draws it. ``things`` and ``pairs`` as in data.things.scenes.sample.
    ValueError for a motion that there is not, BankMissing for ANIMATED where the bank of animations is not there.
    """
    if motion not in ("", ANIMATED, *MOTIONS):
        raise ValueError(f"unknown motion {motion!r}: expected one of {', '.join((ANIMATED, *MOTIONS))}")
    if motion == ANIMATED:
        bank_folder("animations")
    rng = np.random.default_rng((seed, index, 0xF11))
    count = 2 if not motion and rng.random() < _TWO else 1
    animated = [thing for thing in animated_things() if thing in pool(things)]
    moving = []
    for number in range(count):
        chosen = motion or _motion(rng, alone=count == 1, animated=bool(animated))
        names = animated if chosen == ANIMATED else pool(things)
        name = str(rng.choice(names))
        thing, colour = (name, None) if chosen == ANIMATED else coloured(name, rng, pairs)
        x = 0.5 if count == 1 else (0.27, 0.73)[number]
        side = rng.uniform(0.36, 0.48) if count == 1 else rng.uniform(0.32, 0.4)
        side *= 1.35 if count == 1 and chosen in ("grow", "shrink", "stay", "flip", ANIMATED) else 1.0
        spot = float(x + rng.uniform(-0.02, 0.02)), float(0.5 + rng.uniform(-0.06, 0.06))
        mirrored = chosen == "right" or (chosen != "left" and bool(rng.random() < 0.3))  # most pictures look left
        moving.append(Moving(Placed(thing, colour, *spot, float(side), mirrored), chosen))
    background = str(rng.choice(list(PLACES))) if rng.random() < _BACKGROUND else ""
    return VideoScene(tuple(moving), background, int(rng.integers(2**31)))


def _motion(rng: np.random.Generator, alone: bool, animated: bool) -> str:
    if animated and rng.random() < _ANIMATED:
        return ANIMATED
    return str(rng.choice([motion for motion in MOTIONS if alone or motion not in WIDE]))


def caption(scene: VideoScene, naming: Naming = first_name) -> str:
    """The whole video, in English words."""
    sides = ("",) if len(scene.moving) == 1 else (" on the left", " on the right")
    words = " and ".join(_moves(moving, side, naming) for moving, side in zip(scene.moving, sides, strict=True))
    return f"{words}, {BACKGROUNDS[scene.background]}" if scene.background else words


def _moves(moving: Moving, side: str, naming: Naming) -> str:
    """ "a red car that moves to the right", "an animated cat on the left"."""
    if moving.motion == ANIMATED:
        return with_article(noun(moving.placed, ANIMATED, naming)) + side
    return f"{with_article(noun(moving.placed, naming=naming))}{side} that {MOTIONS[moving.motion]['en']}"
