"""Reads captions of scenes back, by tables of its own: what the dialogues' own code says is checked against it."""

import re
from dataclasses import dataclass

from data.things import COLOURS, catalogue

BACKGROUNDS = {
    "meadow": "in a meadow",
    "beach": "on a beach",
    "sea": "on the sea",
    "snow": "in the snow",
    "desert": "in the desert",
    "forest": "in a forest",
    "night sky": "in front of the night sky",
    "room": "in a room",
}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}
PLACE = re.compile(r" (?:on|at) the ((?:top |bottom )?(?:left|right)|top|bottom)$")


@dataclass(frozen=True)
class Read:
    """What a caption says: (thing, colour) from left to right or from top to bottom, and the rest, "" where unsaid."""

    nouns: tuple[tuple[str, str | None], ...]
    count: int
    size: str
    places: tuple[str, ...]
    background: str


def read_caption(caption: str) -> Read:
    """ValueError for what is no caption of a scene."""
    background = next((name for name, words in BACKGROUNDS.items() if caption.endswith(f", {words}")), "")
    words = caption.removesuffix(f", {BACKGROUNDS[background]}") if background else caption
    number, _, rest = words.partition(" ")
    if number in NUMBERS:
        thing, colour, _ = _noun(_singular(rest))
        return Read(((thing, colour),), NUMBERS[number], "", (), background)
    parts = _parts(words)
    places = tuple(match[1] for part in parts if (match := PLACE.search(part)))
    nouns = [_noun(PLACE.sub("", part)) for part in parts]
    size = nouns[0][2] if len(nouns) == 1 else ""
    return Read(tuple((thing, colour) for thing, colour, _ in nouns), len(nouns), size, places, background)


def _parts(words: str) -> list[str]:
    """The nouns of a caption, each with its article; names may hold "and" themselves."""
    return re.split(r"(?:, | and )(?=(?:an?|some) )", words)


def _noun(words: str) -> tuple[str, str | None, str]:
    rest = re.sub(r"^(?:an?|some) ", "", words)
    size = next((size for size in ("small", "large") if rest.startswith(f"{size} ")), "")
    rest = rest.removeprefix(f"{size} ") if size else rest
    # A name may begin with the name of a colour: "orange".
    colour = next((colour for colour in COLOURS if rest.startswith(f"{colour} ") and rest not in catalogue()), None)
    thing = rest.removeprefix(f"{colour} ") if colour else rest
    if thing not in catalogue():
        raise ValueError(f"{words!r} names no thing")
    return thing, colour, size


def _singular(words: str) -> str:
    """The one thing whose plural this is, with its colour."""
    colour = next((colour for colour in COLOURS if words.startswith(f"{colour} ")), "")
    bare = words.removeprefix(f"{colour} ")
    found = [name for name in catalogue() if _similar(name, bare)]
    if len(found) != 1:
        raise ValueError(f"{words!r} is the plural of {found}")
    return f"{colour} {found[0]}".strip()


def _similar(name: str, plural: str) -> bool:
    """Whether ``plural`` may be that of ``name``: the same words, of which one ends otherwise."""
    ours, theirs = name.split(), plural.split()
    if len(ours) != len(theirs):
        return False
    odd = [(one, many) for one, many in zip(ours, theirs, strict=True) if one != many]
    return not odd or (len(odd) == 1 and _plural(*odd[0]))


def _plural(one: str, many: str) -> bool:
    irregular = {
        "mouse": "mice",
        "goose": "geese",
        "foot": "feet",
        "tooth": "teeth",
        "die": "dice",
        "snowman": "snowmen",
    }
    endings = (("", "s"), ("", "es"), ("y", "ies"), ("f", "ves"), ("fe", "ves"))
    regular = (one.removesuffix(end) + more for end, more in endings if one.endswith(end))
    return irregular.get(one) == many or many in regular
