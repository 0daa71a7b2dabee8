"""Reads the attributes back out of a reply, English or Chinese."""

from __future__ import annotations

import re

from data.toybox.lexicon import CHINESE, ENGLISH, MEASURE_WORDS, NOUNS_CHINESE, NOUNS_ENGLISH

_DECLINES = ("i don't know", "i do not know", "这个我不认识", "我不认识", "这个我不知道", "我不知道")
_CANNOT_TELL = ("i can't tell", "i cannot tell", "从这个看不出来", "看不出来")
_ANSWERS = (
    (r"^(yes\b|是的|一样)", "yes"),
    (r"^(no\b|不是|不一样)", "no"),
    (r"^(the first one|第一个)", "first"),
    (r"^(the second one|第二个)", "second"),
    (r"^(the third one|第三个)", "third"),
)
#: Words that look like a count and are none.
_NOT_COUNTS = ("first one", "second one", "third one", "which one", "this one", "that one")


def parse_reply(text: str) -> dict:
    """The attributes that a reply names: thing, colour, count, size, place, background, motion, pitch, pace, repeats.

    An attribute named twice counts as its first mention; then "things" and "colours" list all of them in order.
    "answer" is yes, no, first, second or third where a reply starts so. A decline gives ``{"unknown": True}``, and
    "I can't tell that from this" ``{"cannot_tell": True}``.
    """
    lowered = text.strip().lower().replace("’", "'")
    if lowered.startswith(_DECLINES):
        return {"unknown": True}
    if lowered.startswith(_CANNOT_TELL):
        return {"cannot_tell": True}
    found = {}
    mentions = {"thing": [], "colour": []}
    for name, value in _scan(lowered):
        found.setdefault(name, value)
        if name in mentions and value not in mentions[name]:
            mentions[name].append(value)
    found.update({f"{name}s": tuple(values) for name, values in mentions.items() if len(values) > 1})
    answers = [answer for pattern, answer in _ANSWERS if re.search(pattern, lowered)]
    return found | {"answer": answers[0]} if answers else found


def names() -> dict[str, dict[str | int, tuple[str, ...]]]:
    """Attribute -> value -> what it is called, in English and Chinese."""
    found: dict[str, dict[str | int, tuple[str, ...]]] = {}
    for words, (name, value) in _MEANING.items():
        values = found.setdefault(name, {})
        values[value] = (*values.get(value, ()), words)
    return found


def _scan(text: str):
    """Longest match first, left to right."""
    position = 0
    while match := _PATTERN.search(text, position):
        position = match.end()
        words = match.group()
        if words in ("a", "an"):
            if _NOUN_FOLLOWS.match(text, position):
                yield "count", 1
        elif words in _MEANING:
            yield _MEANING[words]


def _surfaces() -> dict[str, tuple[str, str | int]]:
    meaning = {}
    for thing, words in NOUNS_ENGLISH.items():
        meaning.update({form: ("thing", thing) for word in (*words, thing) for form in (word, word + "s")})
        meaning.update(dict.fromkeys(NOUNS_CHINESE[thing], ("thing", thing)))
    meaning["雨"] = ("thing", "rain")
    for table in (ENGLISH, CHINESE):
        for name, values in table.items():
            if not (table is CHINESE and name == "count"):
                meaning.update({word: (name, value) for value, words in values.items() for word in words})
    for value, words in CHINESE["count"].items():
        meaning.update({words[0] + measure: ("count", value) for measure in MEASURE_WORDS.values()})
    for place in ENGLISH["place"]:
        meaning.setdefault(place, ("place", place))
    meaning.update({"center": ("place", "centre"), "middle": ("place", "centre"), "中等大小": ("size", "medium")})
    meaning.update({name: ("background", name) for name in ENGLISH["background"]})
    meaning.update({f"moves {way}": ("motion", way) for way in ("left", "right", "up", "down")})
    meaning.update({"spins": ("motion", "spin"), "grows": ("motion", "grow"), "bounces": ("motion", "bounce")})
    return meaning


def _pattern(meaning: dict) -> re.Pattern:
    english = sorted((*(words for words in meaning if words.isascii()), *_NOT_COUNTS, "an", "a"), key=len, reverse=True)
    chinese = sorted((words for words in meaning if not words.isascii()), key=len, reverse=True)
    ordinal = f"第[一二三四五][{''.join(sorted(set(MEASURE_WORDS.values())))}张段]"
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, english))})\b|{ordinal}|{'|'.join(chinese)}")


_MEANING = _surfaces()
_PATTERN = _pattern(_MEANING)
_ADJECTIVES = [word for name in ("size", "pitch", "pace", "colour") for ws in ENGLISH[name].values() for word in ws]
_NOUN_FOLLOWS = re.compile(
    rf"(?: (?:{'|'.join(sorted(_ADJECTIVES, key=len, reverse=True))}))*"
    rf" (?:{'|'.join((*(words[0] for words in NOUNS_ENGLISH.values()), *NOUNS_ENGLISH))})\b"
)
