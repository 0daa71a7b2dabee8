"""Captions as phrases: what is shown, where each of it is, how many, and where it all is, each embedded by itself.

    "a small red cat at the top left and a green dog on the right, in a meadow"
    -> small red cat | at the top left | green dog | on the right |  |  |  | in a meadow

A sentence encoder gives each phrase one vector, so a condition is a few vectors, which an output projection can hit;
words that no training caption had lie near those that some had; and what is asked for can be looked up among pictures.
Shapes: B captions, L = SLOTS phrases, E width of the sentence encoder.
"""

import re
from collections.abc import Callable, Sequence

import torch

#: Of each of THINGS things what it is and where; then how many there are of the first, and the background.
THINGS, SLOTS = 3, 8
NUMBER, BACKGROUND = 2 * THINGS, 2 * THINGS + 1
_PLACE = re.compile(
    r" ((?:on|at|in|to|near) the (?:far )?(?:left|right|top|bottom|cent(?:er|re)|middle)"
    r"(?: (?:left|right|corner|side|half|edge))*)$"
)
_BACKGROUND = re.compile(r",? ((?:in|on|at|under|over|by|against|in front of) (?:an?|the) [^,]+)$")
_NUMBER = re.compile(r"^(one|two|three|four|five|six|seven|eight|nine|ten|\d+) ", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the|some) ", re.IGNORECASE)
_BETWEEN = re.compile(r", and | and |, ")

#: Texts -> float32 unit vectors (B, E).
Embed = Callable[[list[str]], torch.Tensor]


def split_caption(caption: str) -> list[str]:
    """The L phrases of a caption, "" where it says nothing. Things beyond the third are left out."""
    phrases = [""] * SLOTS
    rest, background = _background(" ".join(caption.strip().rstrip(".").split()))
    phrases[BACKGROUND] = background
    for thing, words in enumerate(part for part in _BETWEEN.split(rest)[:THINGS] if part):
        place = _PLACE.search(words)
        words = words[: place.start()] if place else words
        number = _NUMBER.match(words)
        if number and thing == 0:
            phrases[NUMBER] = number.group(1).lower()
        phrases[2 * thing] = _ARTICLE.sub("", _NUMBER.sub("", words))
        phrases[2 * thing + 1] = place.group(1) if place else ""
    return phrases


def embed_captions(captions: Sequence[str], embed: Embed) -> torch.Tensor:
    """Conditions (B, L, E): each phrase's vector, zeros where a caption says nothing."""
    split = [split_caption(caption) for caption in captions]
    said = sorted({phrase for phrases in split for phrase in phrases if phrase})
    vectors = dict(zip(said, embed(said), strict=True)) if said else {}
    nothing = torch.zeros_like(next(iter(vectors.values()))) if vectors else embed(["nothing"])[0] * 0
    return torch.stack([torch.stack([vectors.get(phrase, nothing) for phrase in phrases]) for phrases in split])


def _background(caption: str) -> tuple[str, str]:
    """The caption without its background, and that; a place within the image is none."""
    found = _BACKGROUND.search(caption)
    if not found or found.start() == 0 or _PLACE.search(f" {found.group(1)}"):
        return caption, ""
    return caption[: found.start()], found.group(1)
