"""What a caption asks for, as attributes that can be compared with what a judge sees.

"a small red cat at the top left" -> [Wanted("cat", "red", "at the top left")], 1
"three green frogs" -> [Wanted("frog", "green", "")], 3
"""

from dataclasses import dataclass
from functools import cache

from data.things import COLOURS, catalogue
from data.things.words import NUMBERS, plural
from decoders.phrases import NUMBER, THINGS, split_caption

_SIZES = ("small", "large", "animated")


@dataclass(frozen=True)
class Wanted:
    """A thing of the world, its colour and its place; "" where the caption does not say it."""

    thing: str
    colour: str
    place: str


def wanted(caption: str) -> tuple[list[Wanted], int]:
    """The things that a caption of an image names, and how many there are in all.

    ValueError for a thing that the world does not know.
    """
    phrases = split_caption(caption)
    found = [_wanted(phrases[2 * thing], phrases[2 * thing + 1]) for thing in range(THINGS) if phrases[2 * thing]]
    number = NUMBERS.index(phrases[NUMBER]) if phrases[NUMBER] in NUMBERS else 1
    return found, max(number, len(found))


def _wanted(noun: str, place: str) -> Wanted:
    words = noun.split()
    colours = [word for word in words if word in COLOURS]
    for without in ([*_SIZES, *colours[:1]], [*_SIZES]):  # "an orange": a colour may be the thing's own name
        name = " ".join(word for word in words if word not in without)
        if name in singular():
            colour = colours[0] if colours and colours[0] in without else ""
            where = " ".join(word for word in place.split() if word not in _SIZES)
            return Wanted(singular()[name], colour, where)
    raise ValueError(f"{noun!r} is no thing of the world")


@cache
def singular() -> dict[str, str]:
    """Every English name of every thing, single and plural -> the thing."""
    names: dict[str, str] = {}
    for thing in catalogue().values():
        for name in (each.removeprefix("some ") for each in thing.names["en"]):
            names.setdefault(name, thing.name)
            names.setdefault(plural(name), thing.name)
    return names | {thing: thing for thing in catalogue()}
