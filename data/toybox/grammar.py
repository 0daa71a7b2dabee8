"""Attributes to words and back: noun phrases, tag captions for the decoders, and the parser that scores replies."""

from __future__ import annotations

import numpy as np

from data.toybox.grammar_chinese import noun_chinese, phrase_chinese
from data.toybox.grammar_english import noun_english, phrase_english
from data.toybox.lexicon import CHINESE, ENGLISH, TAGS
from data.toybox.parsing import parse_reply

__all__ = ["LANGUAGES", "TAG_WORDS", "noun", "parse_reply", "parse_tags", "phrase", "tag_caption", "word"]

LANGUAGES = ("en", "zh")

#: Every word that a tag caption may hold, in the order of the tags.
TAG_WORDS = tuple(tag for values in TAGS.values() for tag in values.values())

#: Stands in a tag caption for what it leaves open.
OPEN = "-"
#: The attributes that have a place of their own in a tag caption.
SEEN = ("thing", "colour", "count", "size", "place", "background", "motion")

_TAG_MEANING = {tag: (name, value) for name, values in TAGS.items() for value, tag in values.items()}


def phrase(
    attributes: dict[str, str | int],
    modality: str | None = None,
    language: str = "en",
    rng: np.random.Generator | None = None,
) -> str:
    """A noun phrase that names exactly ``attributes``, e.g. "a small red bell at the top left, in the snow".

    Without ``rng`` it is the canonical form, with it a paraphrase. ``modality="audio"`` speaks of a sound. One thing
    is "a bell": in English a count of one and no count read the same.
    """
    _check(attributes)
    return _of(language, phrase_english, phrase_chinese)(attributes, modality, rng)


def noun(thing: str, modality: str | None = None, language: str = "en", count: int = 1) -> str:
    """The bare noun of ``thing``: "bell", "bells", "rain cloud" (seen), "rain" (heard), "铃铛"."""
    _check({"thing": thing})
    return _of(language, noun_english, noun_chinese)(thing, modality, count)


def word(name: str, value: str | int, language: str = "en", rng: np.random.Generator | None = None) -> str:
    """The words for one attribute other than the thing: ``word("place", "top")`` is "at the top"."""
    _check({name: value})
    words = _of(language, ENGLISH, CHINESE)[name][value]
    return words[0] if rng is None else words[int(rng.integers(len(words)))]


def tag_caption(attributes: dict[str, str | int]) -> str:
    """The decoders' prompt: one word an attribute, e.g. "bell red one small top-left snow".

    What is seen has a place of its own in the caption: "bell red - - - snow" where number, size and place are left
    open. A text encoder then finds each attribute at the same position, and so does what imitates it.
    """
    _check(attributes)
    seen = [TAGS[name][attributes[name]] if name in attributes else OPEN for name in SEEN]
    while seen and seen[-1] == OPEN:
        seen.pop()
    heard = [TAGS[name][attributes[name]] for name in TAGS if name not in SEEN and name in attributes]
    return " ".join(seen + heard)


def parse_tags(caption: str) -> dict[str, str | int]:
    """The inverse of :func:`tag_caption`. ValueError for a word that is no tag or an attribute named twice."""
    attributes = {}
    for tag in caption.split():
        if tag == OPEN:
            continue
        if tag not in _TAG_MEANING:
            raise ValueError(f"unknown tag {tag!r}: expected one of {', '.join(TAG_WORDS)}")
        name, value = _TAG_MEANING[tag]
        if name in attributes:
            raise ValueError(f"caption {caption!r} names its {name} twice; once is allowed")
        attributes[name] = value
    return attributes


def _check(attributes: dict[str, str | int]) -> None:
    for name, value in attributes.items():
        if name not in TAGS:
            raise ValueError(f"unknown attribute {name!r}: expected one of {', '.join(TAGS)}")
        if value not in TAGS[name]:
            raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(map(str, TAGS[name]))}")


def _of(language: str, english, chinese):
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}: expected en or zh")
    return english if language == "en" else chinese
