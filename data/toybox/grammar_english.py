"""English noun phrases: [count] [size] [pitch] [pace] [colour] noun [place], [background], [motion], [repeats]."""

from __future__ import annotations

import numpy as np

from data.toybox.lexicon import ENGLISH, NOUNS_ENGLISH


def noun_english(thing: str, modality: str | None = None, count: int = 1) -> str:
    """The noun in singular or plural; what is heard of a rain cloud is rain, which has no plural."""
    if thing == "rain" and modality == "audio":
        return "rain"
    return NOUNS_ENGLISH[thing][0] + ("s" if count > 1 else "")


def phrase_english(attributes: dict, modality: str | None, rng: np.random.Generator | None) -> str:
    """See :func:`data.toybox.grammar.phrase`."""

    def say(name: str) -> str:
        words = ENGLISH[name][attributes[name]]
        return words[0] if rng is None else words[int(rng.integers(len(words)))]

    count = attributes.get("count", 1)
    words = [say(name) for name in ("size", "pitch", "pace", "colour") if name in attributes]
    thing = attributes.get("thing")
    words.append("thing" + "s" * (count > 1) if thing is None else noun_english(thing, modality, count))
    head = " ".join(words)
    if count > 1:
        head = f"{say('count')} {head}"
    elif not (thing == "rain" and modality == "audio"):
        head = f"{article(head)} {head}"
    if "place" in attributes:
        head = f"{head} {say('place')}"
    comma = ", " if rng is None or rng.random() < 0.5 else " "
    return comma.join([head] + [say(name) for name in ("background", "motion", "repeats") if name in attributes])


def article(words: str) -> str:
    """a or an."""
    return "an" if words[0] in "aeiou" else "a"
