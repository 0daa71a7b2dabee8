"""Toybox on the page: a portrait of each thing, example messages, and the images that prototypes of a cache stand for.

A cache holds embeddings only; prototypes made from Toybox are rendered again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from adapters.visual_cache import VisualCache
from data.media.loading import Medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from data.toybox import BACKGROUNDS, COLOURS, THINGS, Scene, phrase, render, sample, visible


@dataclass(frozen=True)
class Example:
    """A message worth trying, in two languages: with a medium ``given`` or none, to get ``made``, a medium or text."""

    english: str
    chinese: str
    given: str | None
    made: str

    def text(self, language: str) -> str:
        """What is said, "en" or "zh"."""
        return self.chinese if language == "zh" else self.english


#: What the ``source`` of a cache of Toybox images begins with.
_TOYBOX = "toybox/"
_DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
#: The scene that portraits and attached examples are varied from.
_PLAIN = Scene(**_DATA["plain"])
#: What examples attach, by modality.
GIVEN = {modality: _PLAIN.with_(**changes) for modality, changes in _DATA["given"].items()}
#: What can be mixed without a file of one's own: scenes as media, by name.
INGREDIENTS = {name: (modality, _PLAIN.with_(**changes)) for name, (modality, changes) in _DATA["ingredients"].items()}
EXAMPLES = tuple(Example(*row) for row in _DATA["examples"])


def write_examples(folder: Path) -> list[tuple[Example, list[Path]]]:
    """Render what :data:`EXAMPLES` attach into ``folder``: each example with its files."""
    files = {}
    for given, scene in GIVEN.items():
        medium = Medium(given, render(scene, given), MODALITIES[given].rate)
        files[given] = save_medium(medium, folder / f"example-{given}{MODALITIES[given].suffix}")
    return [(example, [files[example.given]] if example.given else []) for example in EXAMPLES]


def ingredient(name: str) -> dict:
    """One of :data:`INGREDIENTS` as a content part."""
    modality, scene = INGREDIENTS[name]
    return {"type": modality, "array": render(scene, modality), "rate": MODALITIES[modality].rate}


def ingredient_name(name: str, language: str) -> str:
    """What an ingredient is called in "en" or "zh"."""
    modality, scene = INGREDIENTS[name]
    seen: dict[str, str | int] = {"thing": scene.thing}
    seen |= {"colour": scene.colour} if modality in ("image", "video") else {}
    return phrase(seen, "audio" if modality == "audio" else None, language)


def portraits(size: int = 96) -> dict[str, np.ndarray]:
    """An image (size, size, 3) of each of the things that the embedded world holds."""
    scenes = {
        thing: _PLAIN.with_(
            thing=thing, colour=COLOURS[(3 * number + 1) % 8], background=BACKGROUNDS[number % len(BACKGROUNDS)]
        )
        for number, thing in enumerate(THINGS)
    }
    return {thing: render(scene, "image", size) for thing, scene in scenes.items()}


def toybox_source(seed: int) -> str:
    """What a cache notes as its ``source`` when prototype i is the image of ``sample(seed, i)``."""
    return f"{_TOYBOX}{seed}"


def pictures(cache: VisualCache, indices: Sequence[int], size: int = 96) -> list[np.ndarray] | None:
    """Images (size, size, 3) uint8 of prototypes; None where the cache does not say what they are of."""
    seed = _seed(cache)
    return None if seed is None else [render(sample(seed, index), "image", size) for index in indices]


def names(cache: VisualCache, indices: Sequence[int], language: str = "en") -> list[str]:
    """What prototypes are of, in words of ``language`` ("en" or "zh"); their numbers where the cache does not say."""
    seed = _seed(cache)
    if seed is None:
        return [f"#{index}" for index in indices]
    scenes = [visible(sample(seed, index), "image") for index in indices]
    return [phrase({name: scene[name] for name in ("thing", "colour")}, language=language) for scene in scenes]


def _seed(cache: VisualCache) -> int | None:
    source = cache.source or ""
    seed = source.removeprefix(_TOYBOX)
    return int(seed) if source.startswith(_TOYBOX) and seed.isdigit() else None
