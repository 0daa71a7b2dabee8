"""Scenes of named things: what is where in an image, drawn from a seed, with exact ground truth."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from data.things.backgrounds import PLACES
from data.things.catalogue import held_out_things, trained_things
from data.things.sprites import COLOURS, UNCOLOURED

#: Size -> least and greatest side of a thing that stands alone, as shares of the image's side.
SIZES = {"small": (0.26, 0.34), "": (0.45, 0.6), "large": (0.76, 0.9)}
#: Where one thing may stand -> its centre. "" is the middle, too, but captions do not say so.
POSITIONS = {
    "": (0.5, 0.5),
    "left": (0.25, 0.5),
    "right": (0.75, 0.5),
    "top": (0.5, 0.25),
    "bottom": (0.5, 0.75),
    "top left": (0.25, 0.25),
    "top right": (0.75, 0.25),
    "bottom left": (0.25, 0.75),
    "bottom right": (0.75, 0.75),
}
MOST = 5
_HELD_OUT_SHARE = 0.04


@dataclass(frozen=True)
class Placed:
    """A thing in a scene: its centre (x, y) and side as shares of the image's side, mirrored or not, turned or not."""

    thing: str
    colour: str | None
    x: float
    y: float
    side: float
    mirrored: bool = False
    degrees: float = 0.0


@dataclass(frozen=True)
class Scene:
    """What an image shows.

    Attributes:
        placed: from left to right, or from top to bottom where they stand on one another.
        layout: "one", "several" (of one thing and colour), "beside", "above" (two things) or "three".
        size, position: keys of SIZES and POSITIONS; "" unless the layout is "one".
        background: key of PLACES, or "" for a plain one.
        jitter: seeds what no caption names.
    """

    placed: tuple[Placed, ...]
    layout: str
    size: str
    position: str
    background: str
    jitter: int

    @property
    def count(self) -> int:
        return len(self.placed)

    def with_(self, **changes) -> "Scene":
        """The same scene with some attributes changed."""
        return replace(self, **changes)


def held_out_pair(thing: str, colour: str) -> bool:
    """Whether training never shows the thing in this colour, so that composition can be measured."""
    rng = np.random.default_rng((*thing.encode(), *colour.encode()))
    return bool(rng.random() < _HELD_OUT_SHARE)


def sample(seed: int, index: int, layout: str = "", things: str = "train", pairs: str = "train") -> Scene:
    """Scene number ``index`` of the stream ``seed``; it depends on these alone.

    ``layout`` chooses one, "" draws it. ``things`` is "train" or "held_out"; ``pairs`` of thing and colour are "train",
    "held_out" (only those that training never shows) or "all". KeyError for others.
    """
    rng = np.random.default_rng((seed, index, 0x7417))
    allowed = pool(things)
    layout = layout or str(rng.choice(list(_LAYOUTS), p=_SHARES))
    kinds, size, position, spots = _LAYOUTS[layout](rng)
    names = [str(name) for name in rng.choice(len(allowed), kinds, replace=False)]
    chosen = [coloured(allowed[int(name)], rng, pairs) for name in names]
    placed = _placed(chosen, spots, rng)
    background = str(rng.choice(list(PLACES))) if rng.random() < 0.5 else ""
    return Scene(placed, layout, size, position, background, int(rng.integers(2**31)))


def compose(
    rng: np.random.Generator,
    chosen: list[tuple[str, str | None]],
    layout: str,
    count: int = 1,
    size: str = "",
    position: str = "",
    background: str = "",
) -> Scene:
    """A scene of the ``chosen`` things and colours, ``count`` of the one in the layout "several".

    ValueError for a size at a position that no scene has.
    """
    if position and size not in ("small", ""):
        raise ValueError(f"a thing at the {position} is small or of middle size, not {size!r}")
    while True:  # layouts draw what they leave open, too
        _, size_drawn, position_drawn, spots = _LAYOUTS[layout](rng)
        if (size_drawn, position_drawn) == (size, position) and (layout != "several" or len(spots) == count):
            return Scene(_placed(chosen, spots, rng), layout, size, position, background, int(rng.integers(2**31)))


def _placed(chosen: list[tuple[str, str | None]], spots: "Spots", rng: np.random.Generator) -> tuple[Placed, ...]:
    """Things at their spots; one thing alone stands at all of them."""
    chosen = chosen * len(spots) if len(chosen) == 1 else chosen
    return tuple(
        Placed(thing, colour, x, y, side, bool(rng.random() < 0.3), float(rng.normal(0, 4)))
        for (thing, colour), (x, y, side) in zip(chosen, spots, strict=True)
    )


@cache
def pool(things: str) -> list[str]:
    """Names of the things that are "train" or "held_out". KeyError for others."""
    return {"train": trained_things, "held_out": held_out_things}[things]()


def coloured(thing: str, rng: np.random.Generator, pairs: str) -> tuple[str, str | None]:
    """A thing and a colour that it may have, or none; ``pairs`` as in :func:`sample`."""
    if thing in UNCOLOURED or (pairs != "held_out" and rng.random() < 0.4):
        return thing, None
    wanted = {"train": (False,), "held_out": (True,), "all": (False, True)}[pairs]
    colours = [colour for colour in COLOURS if held_out_pair(thing, colour) in wanted]
    return thing, str(rng.choice(colours)) if colours else None


Spots = list[tuple[float, float, float]]


def _one(rng: np.random.Generator) -> tuple[int, str, str, Spots]:
    position = str(rng.choice(list(POSITIONS))) if rng.random() < 0.55 else ""
    sizes = ["small", ""] if position else list(SIZES)
    size = str(rng.choice(sizes))
    low, high = SIZES[size] if not position else (SIZES["small"] if size else (0.38, 0.46))
    x, y = POSITIONS[position]
    side = float(rng.uniform(low, high))
    spread = 0.03 if size == "large" else 0.05
    spot = float(x + rng.uniform(-spread, spread)), float(y + rng.uniform(-spread, spread)), side
    return 1, size, position, [spot]


def _several(rng: np.random.Generator) -> tuple[int, str, str, Spots]:
    """Two to five of one thing, in a loose row or in a grid."""
    count = int(rng.integers(2, MOST + 1))
    columns = count if count < 4 else (2, 3)[count - 4] if rng.random() < 0.8 else count
    rows = -(-count // columns)
    cells = [(index % columns, index // columns) for index in range(count)]
    side = min(0.9 / columns, 0.8 / rows) * float(rng.uniform(0.78, 0.92))
    last = count - columns * (rows - 1)
    spots = []
    for column, row in cells:
        shift = (columns - last) / 2 if row == rows - 1 else 0.0
        jitter = rng.uniform(-0.05, 0.05, 2) / max(columns, rows)
        x, y = (column + shift + 0.5) / columns, (row + 0.5) / rows if rows > 1 else 0.5 + rng.uniform(-0.1, 0.1)
        spots.append((float(x + jitter[0]), float(y + jitter[1]), side))
    return 1, "", "", spots


def _pair(rng: np.random.Generator, across: bool) -> tuple[int, str, str, Spots]:
    sides = rng.uniform(0.36, 0.47, 2)
    along = (0.26 + rng.uniform(-0.02, 0.02), 0.74 + rng.uniform(-0.02, 0.02))
    other = 0.5 + rng.uniform(-0.1, 0.1, 2)
    spots = [(float(a), float(b), float(s)) for a, b, s in zip(along, other, sides, strict=True)]
    return 2, "", "", spots if across else [(b, a, side) for a, b, side in spots]


def _three(rng: np.random.Generator) -> tuple[int, str, str, Spots]:
    places = zip((0.19, 0.5, 0.81), rng.uniform(0.35, 0.65, 3), rng.uniform(0.27, 0.31, 3), strict=True)
    return 3, "", "", [(x, float(y), float(side)) for x, y, side in places]


_LAYOUTS = {
    "one": _one,
    "several": _several,
    "beside": lambda rng: _pair(rng, across=True),
    "above": lambda rng: _pair(rng, across=False),
    "three": _three,
}
_SHARES = (0.5, 0.18, 0.14, 0.1, 0.08)
