"""How people type: capitals or none, punctuation or none, letters in the wrong order."""

import re
from functools import cache

import numpy as np

from data.things.catalogue import catalogue
from data.things.dialogues.wording import banks

TYPOS = 0.12
TERSE = 0.06  # without articles: "red cat and green dog"
_ARTICLE = re.compile(r"\b(?:an?|the) (?=\w)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]{5,}")


def styled(text: str, language: str, rng: np.random.Generator) -> str:
    """``text`` as somebody might type it; its meaning stays."""
    return _chinese(text, rng) if language == "zh" else _english(text, rng)


def _english(text: str, rng: np.random.Generator) -> str:
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    style = rng.random()
    if rng.random() < TYPOS:
        text = with_typo(text, rng)
    if rng.random() < TERSE:
        text = _ARTICLE.sub("", text)
    if style < 0.45:
        text = re.sub(r"(^|[.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
        return text if text[-1] in "?!." else text + "."
    if style < 0.6:
        return text[:1].upper() + text[1:].rstrip(".")
    if style < 0.9:
        return text.lower().rstrip(".")
    if style < 0.97:
        return re.sub(r"[,.?!;]+(?= |$)", "", text.lower())
    return text.upper()


def _chinese(text: str, rng: np.random.Generator) -> str:
    text = text.replace("声的声音", "声")
    text = text.replace(" ", "") if not re.search(r"[A-Za-z] [A-Za-z]", text) else text
    style = rng.random()
    if style < 0.5:
        return text if text[-1] in "？！。" else text + ("？" if text[-1] in "吗呢" else "。")
    return text.rstrip("。") if style < 0.8 else text.rstrip("。？！")


def with_typo(text: str, rng: np.random.Generator) -> str:
    """One word of five letters or more with two letters swapped, one left out or one doubled; no other known word."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    at = int(rng.integers(1, len(word[0]) - 1))
    before, letter, after = word[0][:at], word[0][at], word[0][at + 1 :]
    changed = (before + after[:1] + letter + after[1:], before + after, before + letter * 2 + after)
    typo = changed[int(rng.integers(3))]
    return text if typo.lower() in _known() else text[: word.start()] + typo + text[word.end() :]


@cache
def _known() -> frozenset[str]:
    """Words that mean something else: of things and of what the banks hold."""
    names = " ".join(name for thing in catalogue().values() for name in thing.names["en"])
    return frozenset(_WORD.findall((names + " " + " ".join(map(" ".join, banks("en").values()))).lower()))
