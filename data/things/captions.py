"""What a scene shows, in English words: the caption that decoders follow, or one in other words.

a small red cat at the top left, in a meadow
three green frogs
a red cat on the left and a green dog on the right, on a beach
"""

from collections.abc import Callable

import numpy as np

from data.things.catalogue import catalogue
from data.things.scenes import Placed, Scene
from data.things.words import counted, with_article

#: How a place is said after what stands there.
WHERE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "top left": "at the top left",
    "top right": "at the top right",
    "bottom left": "at the bottom left",
    "bottom right": "at the bottom right",
}
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
#: A thing's name -> the one of its names that is said.
Naming = Callable[[str], str]


def first_name(thing: str) -> str:
    """The usual English name, with "some" where it takes no article."""
    return catalogue()[thing].names["en"][0]


def any_name(rng: np.random.Generator) -> Naming:
    """One of the English names, drawn anew at each call."""
    return lambda thing: str(rng.choice(catalogue()[thing].names["en"]))


def noun(placed: Placed, size: str = "", naming: Naming = first_name) -> str:
    """ "small red cat"."""
    name = naming(placed.thing)
    some, name = ("some ", name.removeprefix("some ")) if name.startswith("some ") else ("", name)
    return some + " ".join(word for word in (size, placed.colour or "", name) if word)


def caption(scene: Scene, naming: Naming = first_name) -> str:
    """The whole scene."""
    words = _things(scene, naming)
    return f"{words}, {BACKGROUNDS[scene.background]}" if scene.background else words


def _things(scene: Scene, naming: Naming) -> str:
    if scene.layout == "several":
        return counted(noun(scene.placed[0], naming=naming), scene.count)
    nouns = [with_article(noun(placed, scene.size, naming)) for placed in scene.placed]
    if scene.layout == "one":
        return f"{nouns[0]} {WHERE[scene.position]}" if scene.position else nouns[0]
    if scene.layout == "three":
        return f"{nouns[0]}, {nouns[1]} and {nouns[2]}"
    first, second = ("left", "right") if scene.layout == "beside" else ("top", "bottom")
    return f"{nouns[0]} {WHERE[first]} and {nouns[1]} {WHERE[second]}"
