"""Reads the attributes back out of a reply, English or Chinese."""

import re
from collections.abc import Iterator

from data.toybox.language.grammar import words
from data.toybox.world import BACKGROUNDS, PLACES, THINGS

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
    found: dict = {}
    mentions: dict[str, list] = {"thing": [], "colour": []}
    for name, value in _scan(lowered):
        found.setdefault(name, value)
        if name in mentions and value not in mentions[name]:
            mentions[name].append(value)
    found.update({f"{name}s": tuple(values) for name, values in mentions.items() if len(values) > 1})
    answers = [answer for pattern, answer in _ANSWERS if re.search(pattern, lowered)]
    return found | {"answer": answers[0]} if answers else found


def attribute_words() -> dict[str, dict[str | int, tuple[str, ...]]]:
    """Attribute -> value -> what it is called, in English and Chinese."""
    found: dict[str, dict[str | int, tuple[str, ...]]] = {}
    for form, (name, value) in _MEANING.items():
        values = found.setdefault(name, {})
        values[value] = (*values.get(value, ()), form)
    return found


def _scan(text: str) -> Iterator[tuple[str, str | int]]:
    """Longest match first, left to right."""
    position = 0
    while match := _PATTERN.search(text, position):
        position = match.end()
        form = match.group()
        if form in ("a", "an"):
            if _NOUN_FOLLOWS.match(text, position):
                yield "count", 1
        elif form in _MEANING:
            yield _MEANING[form]


def _surfaces() -> dict[str, tuple[str, str | int]]:
    """Every form of words that names a value -> (attribute, value)."""
    english, chinese = words("en"), words("zh")
    meaning: dict[str, tuple[str, str | int]] = {}
    for thing, noun in english["nouns"].items():
        meaning.update({form: ("thing", thing) for word in (noun, thing) for form in (word, word + "s")})
        meaning[chinese["nouns"][thing]] = ("thing", thing)
    meaning.update({noun: ("thing", thing) for thing, noun in chinese["heard_nouns"].items()})
    for table in (english, chinese):
        for name, values in table["attributes"].items():
            if not (table is chinese and name == "count"):
                meaning.update({word: (name, value) for value, forms in values.items() for word in forms})
    for value, forms in chinese["attributes"]["count"].items():
        meaning.update({forms[0] + measure: ("count", value) for measure in chinese["measure_words"].values()})
    for place in PLACES:
        meaning.setdefault(place, ("place", place))
    meaning.update({name: ("background", name) for name in BACKGROUNDS})
    for table in (english, chinese):
        for name, forms in table["understood"].items():
            meaning.update({form: (name, value) for form, value in forms.items()})
    return meaning


def _pattern(meaning: dict) -> re.Pattern:
    english = sorted((*(form for form in meaning if form.isascii()), *_NOT_COUNTS, "an", "a"), key=len, reverse=True)
    chinese = sorted((form for form in meaning if not form.isascii()), key=len, reverse=True)
    ordinal = f"第[一二三四五][{''.join(sorted(set(words('zh')['measure_words'].values())))}张段]"
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, english))})\b|{ordinal}|{'|'.join(chinese)}")


_MEANING = _surfaces()
_PATTERN = _pattern(_MEANING)
_ADJECTIVES = [
    word
    for name in ("size", "pitch", "pace", "colour")
    for forms in words("en")["attributes"][name].values()
    for word in forms
]
_NOUN_FOLLOWS = re.compile(
    rf"(?: (?:{'|'.join(sorted(_ADJECTIVES, key=len, reverse=True))}))*"
    rf" (?:{'|'.join((*words('en')['nouns'].values(), *THINGS))})\b"
)
