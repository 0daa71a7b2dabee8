"""What is said about labelled media: a noun for what labels are, names for labels, questions, requests and answers.

The sentences of ``phrases.yaml`` are the default; a YAML file may replace any of them. In them ``{noun}`` is the noun,
``{name}`` a label's name and ``{a_name}`` the name with its article:

    label: digit                       # the column of the table
    noun: digit
    names: {"0": [zero, "0"], "1": [one, "1"]}     # the first is the assistant's, users may say any
    answers: {tell: "This is {a_name}."}
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from data.formats.captions import phrases
from data.manifest import FormatError


def _default(name: str) -> Callable[[], Any]:
    return lambda: copy.deepcopy(phrases("labels")[name])


@dataclass(frozen=True)
class LabelWords:
    """Sentences by modality. ``answers`` are "tell" and, by modality, what accompanies a medium that is made."""

    label: str
    noun: str
    names: dict[str, list[str]] = field(default_factory=dict)
    ask: dict[str, list[str]] = field(default_factory=_default("ask"))
    make: dict[str, list[str]] = field(default_factory=_default("make"))
    convert: dict[str, list[str]] = field(default_factory=_default("convert"))
    follow: dict[str, list[str]] = field(default_factory=_default("follow"))
    answers: dict[str, str] = field(default_factory=_default("answers"))

    def can_make(self, modality: str) -> bool:
        """Whether there are sentences for a medium that the assistant makes."""
        return all(modality in sentences for sentences in (self.make, self.convert, self.follow, self.answers))

    def name(self, label: str) -> str:
        """What the assistant, and a decoder's caption, call a label."""
        return self.spoken(label)[0]

    def spoken(self, label: str) -> list[str]:
        """What users call it."""
        return self.names.get(label) or [label]

    def say(self, sentence: str, name: str = "") -> str:
        """A sentence about something called ``name``."""
        return sentence.format(noun=self.noun, name=name, a_name=with_article(name))


def with_article(name: str) -> str:
    """ "a seven", "an eight"; names without letters of their own ("7") as they are spelt, with "a" or "an"."""
    vowel = name[:1].lower() in ("a", "e", "i", "o", "u") or name in ("8", "11", "18")
    return f"{'an' if vowel and not name.lower().startswith('one') else 'a'} {name}"


def read_words(path: Path | None, columns: list[str]) -> LabelWords:
    """The words of a YAML file, or plain ones, for a table with these columns. FormatError for what does not fit."""
    values = {} if path is None else _read(path)
    where = "the table" if path is None else str(path)
    label = str(values.pop("label", "label"))
    if label not in columns:
        raise FormatError(f"{where}: no column {label!r} of labels; the table has {', '.join(columns)}")
    known = {entry.name: entry for entry in dataclasses.fields(LabelWords)}
    if unknown := sorted(set(values) - set(known)):
        raise FormatError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
    words = LabelWords(label, str(values.pop("noun", label)), _names(values.pop("names", {}), where))
    for key, given in values.items():
        if not isinstance(given, dict) or not all(given.values()):
            raise FormatError(f"{where}: {key} must map modalities to sentences, not {given!r}")
        getattr(words, key).update(given)
    _check(words, where)
    return words


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FormatError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise FormatError(f"{path} holds no mapping of keys to values")
    return values


def _names(given: Any, where: str) -> dict[str, list[str]]:
    """Label -> names; one name may stand alone."""
    if not isinstance(given, dict):
        raise FormatError(f"{where}: names must map labels to what they are called, not {given!r}")
    listed = {str(label): names if isinstance(names, list) else [names] for label, names in given.items()}
    return {label: [str(name) for name in names] for label, names in listed.items()}


def _check(words: LabelWords, where: str) -> None:
    """FormatError for a sentence with a field that is not there."""
    groups = (words.ask, words.make, words.convert, words.follow)
    for sentence in [*words.answers.values(), *(s for group in groups for listed in group.values() for s in listed)]:
        try:
            words.say(str(sentence), "x")
        except (KeyError, IndexError, ValueError) as error:
            raise FormatError(f"{where}: {sentence!r} may use {{noun}}, {{name}} and {{a_name}} only") from error
