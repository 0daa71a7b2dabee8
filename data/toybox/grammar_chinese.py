"""Chinese noun phrases: 一个红色的小铃铛，在左上角，背景是雪地 and, for sounds, 铃铛的声音，音调低，节奏快，共三次."""

from __future__ import annotations

import numpy as np

from data.toybox.lexicon import CHINESE, MEASURE_WORDS, NOUNS_CHINESE


def noun_chinese(thing: str, modality: str | None = None, count: int = 1) -> str:
    """The noun; ``count`` changes nothing. What is heard of a rain cloud is rain."""
    return "雨" if thing == "rain" and modality == "audio" else NOUNS_CHINESE[thing][0]


def phrase_chinese(attributes: dict, modality: str | None, rng: np.random.Generator | None) -> str:
    """See :func:`data.toybox.grammar.phrase`."""

    def say(name: str) -> str:
        words = CHINESE[name][attributes[name]]
        return words[0] if rng is None else words[int(rng.integers(len(words)))]

    clauses = [_sound(attributes) if modality == "audio" else _head(attributes, say)]
    if "place" in attributes:
        clauses.append("在" + say("place"))
    if "background" in attributes:
        clauses.append("背景是" + say("background"))
    if "motion" in attributes:
        clauses.append("正在" + say("motion"))
    clauses += [say(name) for name in ("pitch", "pace") if name in attributes]
    if "repeats" in attributes:
        clauses.append("共" + say("repeats"))
    return "，".join(clauses)


def _head(attributes: dict, say) -> str:
    thing = attributes.get("thing")
    measure = "个" if thing is None else MEASURE_WORDS[thing]
    count = CHINESE["count"][attributes.get("count", 1)][0]
    colour = say("colour") + "的" if "colour" in attributes else ""
    size = say("size") if "size" in attributes else ""
    return f"{count}{measure}{colour}{size}{'东西' if thing is None else noun_chinese(thing)}"


def _sound(attributes: dict) -> str:
    thing = attributes.get("thing")
    return "一个声音" if thing is None else noun_chinese(thing, "audio") + "的声音"
