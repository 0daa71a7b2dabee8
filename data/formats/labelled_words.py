"""What is said about labelled media: a noun for what labels are, names for labels, questions, requests and answers.

The sentences of ``phrases.yaml`` are the default; a YAML file may replace any of them. In them ``{noun}`` is the noun,
``{name}`` a label's name and ``{a_name}`` the name with its article:

    label: digit                       # the column of the table
    noun: digit
    names: {"0": [zero, "0"], "1": [one, "1"]}     # the first is the assistant's, users may say any
    answers: {tell: "This is {a_name}."}
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from data.formats.captions import phrases
from data.manifest import FormatError
from data.strict import SettingsError, read_settings
from data.strict_yaml import TextLoader, read_yaml


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

    def __post_init__(self) -> None:
        """ValueError for a modality without sentences, and for a sentence with an unknown field."""
        lists = [listed for group in (self.ask, self.make, self.convert, self.follow) for listed in group.values()]
        if not all(lists):
            raise ValueError("every modality needs at least one sentence")
        for sentence in chain(self.answers.values(), *lists):
            try:
                self.say(sentence, "x")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"{sentence!r} may use {{noun}}, {{name}} and {{a_name}} only") from error

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
    where = "the table" if path is None else str(path)
    try:
        given = {} if path is None else read_yaml(path, "file of words", TextLoader)
        return read_settings(LabelWords, _completed(given, columns, where), where)
    except SettingsError as error:
        raise FormatError(str(error)) from error


def _completed(given: dict[str, Any], columns: list[str], where: str) -> dict[str, Any]:
    """The keys of a file, and the sentences and names that it leaves out."""
    label = given.get("label", "label")
    if label not in columns:
        raise FormatError(f"{where}: no column {label!r} of labels; the table has {', '.join(columns)}")
    values = {"noun": label, **given, "label": label}
    for key in phrases("labels").keys() & given.keys():
        if isinstance(given[key], dict):
            values[key] = phrases("labels")[key] | given[key]
    if isinstance(names := given.get("names"), dict):  # one name may stand alone
        values["names"] = {key: _as_list(value) for key, value in names.items()}
    return values


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
