"""Banks of wordings, and how one is drawn from them.

A bank is a list of templates in one of the YAML files of a language. In a template

    {name}      is a slot that the caller fills, or else a template of the bank ``name``
    {Name}      is the slot ``name`` with a capital
    (a|b|c)     is one of several, of equal chance; an empty one may be among them
    [text]      stands there or not; "|" may part several

A template that begins with "~ " is held out: training never uses it, so that a model can be asked in other words.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

T = TypeVar("T")
LANGUAGES = ("en", "zh")
HELD_OUT = "~ "
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # "no" and "2" are words here
_CHOICE = re.compile(r"\(([^()\[\]]*\|[^()\[\]]*)\)|\[([^()\[\]]*)\]")
_SLOT = re.compile(r"\{([\w.]+)\}")


@cache
def banks(language: str) -> dict[str, tuple[str, ...]]:
    """Every bank of a language by its dotted name, e.g. "request.image"."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted((Path(__file__).parent / language).glob("*.yaml")):
        found |= dict(_flat("", yaml.load(path.read_text(encoding="utf-8"), _LOADER)))
    return found


def _flat(prefix: str, table: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", tuple(value if isinstance(value, list) else [value])


class Wording:
    """Draws wordings of one language with ``rng``: those of training, or those that are held out from it."""

    def __init__(self, language: str, rng: np.random.Generator, held_out: bool = False) -> None:
        self.language, self.rng, self.held_out = language, rng, held_out
        self.banks = banks(language)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def template(self, name: str) -> str:
        """One of the bank ``name``. Of those held out where these are wanted and the bank has some. KeyError if none"""
        bank = self.banks[name]
        flagged = [each.removeprefix(HELD_OUT) for each in bank if each.startswith(HELD_OUT)]
        usual = [each for each in bank if not each.startswith(HELD_OUT)]
        return self.pick(flagged if flagged and (self.held_out or not usual) else usual)

    def say(self, name: str, **slots: str) -> str:
        """A template of the bank ``name`` with its slots filled."""
        return self.fill(self.template(name), **slots)

    def fill(self, template: str, **slots: str) -> str:
        while _CHOICE.search(template):
            template = _CHOICE.sub(self._choose, template)
        filled = _SLOT.sub(lambda slot: self._slot(slot[1], slots), template)
        return re.sub(r" +(?=[ ,])", "", filled).strip()

    def _slot(self, name: str, slots: dict[str, str]) -> str:
        if name in slots:
            return slots[name]
        small = name[0].lower() + name[1:]
        return upper_first(slots[small]) if small != name and small in slots else self.say(name, **slots)

    def first(self, name: str) -> str:
        """The usual wording of a bank."""
        return self.banks[name][0]

    def _choose(self, match: re.Match[str]) -> str:
        if match[1] is not None:
            return self.pick(match[1].split("|"))
        return self.pick(match[2].split("|")) if self.chance(0.5) else ""


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
