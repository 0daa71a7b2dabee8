"""Attributes to words and back: noun phrases for people, tag captions for the decoders.

The words are those of ``en.yaml``, ``zh.yaml`` and, in tag captions, ``tags.yaml`` beside this file.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.toybox.world import BACKGROUNDS, PLACES, TAGS, THINGS, load_table

LANGUAGES = ("en", "zh")

#: Every word that a tag caption may hold, in the order of the tags.
TAG_WORDS = tuple(tag for values in TAGS.values() for tag in values.values())
_TAG_MEANING = {tag: (name, value) for name, values in TAGS.items() for value, tag in values.items()}

#: Stands in a tag caption for an attribute that it leaves open.
OPEN = "-"
#: The visible attributes have fixed positions in a tag caption.
SEEN = ("thing", "colour", "count", "size", "place", "background", "motion")


def words(language: str) -> dict[str, Any]:
    """The words of a language: ``nouns``, ``heard_nouns`` (where a sound goes by another name), ``measure_words`` of
    things, and ``attributes``: attribute -> value -> its words, the canonical one first. ValueError for no language."""
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}: expected one of {', '.join(LANGUAGES)}")
    return load_table(Path(__file__).with_name(f"{language}.yaml"))


def noun(thing: str, modality: str | None = None, language: str = "en", count: int = 1) -> str:
    """The bare noun of ``thing``: "bell", "bells", "rain cloud" (seen), "rain" (heard), "铃铛"."""
    table = words(language)
    if modality == "audio" and thing in table["heard_nouns"]:
        return table["heard_nouns"][thing]
    if thing not in table["nouns"]:
        raise ValueError(f"unknown thing {thing!r}: expected one of {', '.join(table['nouns'])}")
    return table["nouns"][thing] + ("s" if language == "en" and count > 1 else "")


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
    table = words(language)["attributes"]

    def say(name: str) -> str:
        choices = table[name][attributes[name]]
        return choices[0] if rng is None else choices[int(rng.integers(len(choices)))]

    return (_english if language == "en" else _chinese)(attributes, modality, say, rng)


def word(name: str, value: str | int, language: str = "en", rng: np.random.Generator | None = None) -> str:
    """The words for one attribute other than the thing: ``word("place", "top")`` is "at the top"."""
    _check({name: value})
    choices = words(language)["attributes"][name][value]
    return choices[0] if rng is None else choices[int(rng.integers(len(choices)))]


def article(phrase: str) -> str:
    """a or an."""
    return "an" if phrase[0] in "aeiou" else "a"


def _english(attributes: dict, modality: str | None, say: Callable[[str], str], rng: np.random.Generator | None) -> str:
    """[count] [size] [pitch] [pace] [colour] noun [place], [background], [motion], [repeats]."""
    count, thing = attributes.get("count", 1), attributes.get("thing")
    head = [say(name) for name in ("size", "pitch", "pace", "colour") if name in attributes]
    head.append("thing" + "s" * (count > 1) if thing is None else noun(thing, modality, "en", count))
    text = " ".join(head)
    if count > 1:
        text = f"{say('count')} {text}"
    elif not (thing == "rain" and modality == "audio"):  # the sound of rain has neither article nor plural
        text = f"{article(text)} {text}"
    if "place" in attributes:
        text = f"{text} {say('place')}"
    comma = ", " if rng is None or rng.random() < 0.5 else " "
    return comma.join([text] + [say(name) for name in ("background", "motion", "repeats") if name in attributes])


def _chinese(attributes: dict, modality: str | None, say: Callable[[str], str], rng: np.random.Generator | None) -> str:
    """一个红色的小铃铛，在左上角，背景是雪地 and, for sounds, 铃铛的声音，音调低，节奏快，共三次."""
    thing, table = attributes.get("thing"), words("zh")
    if modality == "audio":
        clauses = ["一个声音" if thing is None else noun(thing, "audio", "zh") + "的声音"]
    else:
        measure = "个" if thing is None else table["measure_words"][thing]
        count = table["attributes"]["count"][attributes.get("count", 1)][0]
        colour = say("colour") + "的" if "colour" in attributes else ""
        size = say("size") if "size" in attributes else ""
        clauses = [f"{count}{measure}{colour}{size}{'东西' if thing is None else noun(thing, None, 'zh')}"]
    openings = {"place": "在", "background": "背景是", "motion": "正在", "pitch": "", "pace": "", "repeats": "共"}
    return "，".join(clauses + [opening + say(name) for name, opening in openings.items() if name in attributes])


def tag_caption(attributes: dict[str, str | int]) -> str:
    """The decoders' prompt: one word an attribute, e.g. "bell red one small top-left snow".

    What is seen has a position of its own in the caption: "bell red - - - snow" where number, size and place are left
    open. A text encoder then finds each attribute at the same position, and so does what imitates it.
    """
    _check(attributes)
    seen = [TAGS[name][attributes[name]] if name in attributes else OPEN for name in SEEN]
    while seen and seen[-1] == OPEN:
        seen.pop()
    return " ".join(seen + [TAGS[name][attributes[name]] for name in TAGS if name not in SEEN and name in attributes])


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
