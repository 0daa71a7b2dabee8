"""English words for things: articles, plurals, numbers."""

import re
from typing import Any

NUMBERS = ("no", "one", "two", "three", "four", "five")
#: What says where "of what" or "with what" begins: the noun that takes the plural stands before it.
_HEAD = re.compile(r"^(.*?)( (?:of|with|behind|on|in) .*)?$")
_IRREGULAR = {
    "foot": "feet",
    "tooth": "teeth",
    "mouse": "mice",
    "goose": "geese",
    "man": "men",
    "die": "dice",
    "leaf": "leaves",
    "loaf": "loaves",
    "scarf": "scarves",
    "wolf": "wolves",
    "knife": "knives",
}
_UNCHANGED = ("fish", "moose", "deer", "sheep", "bison", "shrimp", "squid", "headphones", "notes", "prints")
_WITH_ES = ("tomato", "potato", "mango", "mosquito", "volcano", "tornado", "buffalo")
#: Written with a vowel but spoken with "you" or "won", and written with a consonant but spoken with a vowel.
_A, _AN = re.compile(r"(?:uni|ufo|eu|use|one\b)", re.IGNORECASE), re.compile(r"(?:hour|honest|[FHLMNRSX][A-Z])")


def with_article(noun: str) -> str:
    """ "a cat", "an apple"; a noun that stands with "some" keeps it."""
    if noun.startswith("some "):
        return noun
    vowel = bool(_AN.match(noun)) or (noun[:1].lower() in "aeiou" and not _A.match(noun))
    return f"{'an' if vowel else 'a'} {noun}"


def usual_name(entry: Any, language: str) -> str:
    """The usual name of a thing, a kind of sound or of 3D model (its ``names``) without "some"."""
    return entry.names[language][0].removeprefix("some ")


def plural(noun: str) -> str:
    """ "cats", "pieces of cheese", "pairs of glasses"."""
    match = _HEAD.match(noun.removeprefix("some "))
    head, rest = (match.group(1), match.group(2) or "") if match else (noun, "")
    return _plural_word(head) + rest


def counted(noun: str, count: int) -> str:
    """ "a cat", "three cats". ``count`` is at most five."""
    return with_article(noun) if count == 1 else f"{NUMBERS[count]} {plural(noun)}"


def _plural_word(word: str) -> str:
    if word.endswith(_UNCHANGED):
        return word
    for single, several in _IRREGULAR.items():
        if word == single or word.endswith((f" {single}", f"snow{single}")):
            return word.removesuffix(single) + several
    if word.endswith(_WITH_ES) or word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"
