"""What an encoder over pretrained trunks reads, in words: for the prompt, as an expert's (LLaMA-Adapter V2, Sec. 4.4).

    2 things: red cat on the left [12, 40, 45, 80]; green dog on the right [55, 38, 90, 82]; in a meadow
    3 things: 3 x apple
    photograph, surely of Golden Retriever 98%
    dog barks; twice; quick and loud

Vectors are named by the nearest of the phrases that the encoder was trained on. Training, which knows what media show,
writes the same words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from data.boxes import format_box
from data.sureness import sureness

#: What is read in a medium that shows nothing of what the encoder knows.
NOTHING = {"en": "nothing known", "zh": "不认识的东西"}
#: A classifier's classes that are named: at most so many, each at least so likely (the likeliest always).
MOST_CLASSES, LEAST_PROBABILITY = 4, 0.05
#: A thing that stands alone is called small or large up to, and from, this share of the image's side.
SMALL, LARGE = 0.36, 0.68
#: What lies between these shares of the image's sides is in the middle.
MIDDLE = 0.375, 0.625
_SIZES = {"small": {"en": "small", "zh": "小小的"}, "large": {"en": "large", "zh": "很大的"}}
_PLACES = {
    "": {"en": "in the middle", "zh": "在中间"},
    "left": {"en": "on the left", "zh": "在左边"},
    "right": {"en": "on the right", "zh": "在右边"},
    "top": {"en": "at the top", "zh": "在上方"},
    "bottom": {"en": "at the bottom", "zh": "在下方"},
    "top left": {"en": "at the top left", "zh": "在左上角"},
    "top right": {"en": "at the top right", "zh": "在右上角"},
    "bottom left": {"en": "at the bottom left", "zh": "在左下角"},
    "bottom right": {"en": "at the bottom right", "zh": "在右下角"},
}
_SURELY = {
    "sure": {"en": "photograph, surely of ", "zh": "照片，肯定是"},
    "probably": {"en": "photograph, probably of ", "zh": "照片，大概是"},
    "unsure": {"en": "photograph, unsure: ", "zh": "照片，不确定："},
}
#: A phrase by language; English always.
Phrase = Mapping[str, str]


class Found(NamedTuple):
    """A thing in an image: its name, its colour or "", and its box: left, top, right, bottom as shares of the sides."""

    name: str
    colour: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Vocabulary:
    """Phrases of one modality that an encoder can tell apart, in the order of their vectors.

    Attributes:
        things: names of things, without articles.
        others: other phrases by their slot in a caption (``decoders.phrases``); none of images.
        colours, backgrounds: of images.
    """

    things: list[dict[str, str]]
    others: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    colours: list[dict[str, str]] = field(default_factory=list)
    backgrounds: list[dict[str, str]] = field(default_factory=list)


def word(phrase: Phrase, language: str) -> str:
    """A phrase in a language, in English where it is not known there."""
    return phrase.get(language) or phrase["en"]


def describe_things(found: Sequence[Found], background: str = "", language: str = "en") -> str:
    """An image of things: how many, each with its place and box; equal ones counted."""
    if not found:
        return NOTHING[language]
    counts = Counter((each.name, each.colour) for each in found)
    parts = []
    for each in found:
        noun = " ".join(filter(None, (each.colour, each.name)))
        count = counts.pop((each.name, each.colour), 0)
        if count == 1:
            size = _size(each.box, language) if len(found) == 1 else ""
            place = _place(each.box, language)
            parts.append(" ".join(filter(None, (size, noun, place, format_box(each.box)))))
        elif count:
            parts.append(f"{count} x {noun}")
    parts += [background] if background else []
    total = f"{len(found)}个：" if language == "zh" else f"{len(found)} thing{'s' * (len(found) > 1)}: "
    return total + "; ".join(parts)


def describe_classes(likeliest: Sequence[tuple[str, float]], language: str = "en") -> str:
    """A photograph by a classifier's classes and their probabilities, the likeliest first."""
    named = [
        f"{name} {probability:.0%}"
        for rank, (name, probability) in enumerate(likeliest[:MOST_CLASSES])
        if not rank or probability >= LEAST_PROBABILITY
    ]
    return _SURELY[sureness(likeliest[0][1])][language] + ", ".join(named)


def describe_phrases(phrases: Sequence[str], language: str = "en") -> str:
    """A medium by the phrases of its caption: of each thing what it is and does, then number, then manner."""
    *things, number, manner = phrases
    pairs = [" ".join(filter(None, things[start : start + 2])) for start in range(0, len(things), 2)]
    return "; ".join(filter(None, (*pairs, number, manner))) or NOTHING[language]


def _size(box: tuple[float, float, float, float], language: str) -> str:
    side = max(box[2] - box[0], box[3] - box[1])
    return _SIZES["small" if side <= SMALL else "large"][language] if side <= SMALL or side >= LARGE else ""


def _place(box: tuple[float, float, float, float], language: str) -> str:
    across, down = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    words = _side(down, "top", "bottom"), _side(across, "left", "right")
    return _PLACES[" ".join(filter(None, words))][language]


def _side(middle: float, before: str, after: str) -> str:
    return before if middle < MIDDLE[0] else after if middle > MIDDLE[1] else ""
