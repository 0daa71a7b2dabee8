"""The kinds of sound: about 70 that an ear can tell apart, each with names in English and Chinese."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).parent / "kinds.yaml"
#: How a kind sounds: an instrument that plays notes, one that is hit, an event, or something that goes on.
FORMS = ("notes", "hits", "events", "steady")


@dataclass(frozen=True)
class Kind:
    """A kind of sound.

    Attributes:
        name: the first of its English names; unique, and what scenes and captions call it.
        names: language ("en", "zh") -> names. "some" stands before what takes no article.
        form: one of FORMS.
        does, doing: "rings" and "ringing"; "" where there is no such word for it.
        range: lowest and highest note (of MIDI) of what plays notes.
        held: whether a note lasts as long as it is played.
        by: whether notes are by it (singers) and not on it.
        made: where it comes from: "program", "key" (of the drum kit) or "voice" (of Toybox), and which.
    """

    name: str
    names: dict[str, tuple[str, ...]]
    form: str
    does: str
    doing: str
    range: tuple[int, int]
    held: bool
    by: bool
    made: tuple[str, Any]


@cache
def kinds() -> dict[str, Kind]:
    """Name -> kind."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    found = [_kind(form, entry) for form in FORMS for entry in table[form]]
    return {kind.name: kind for kind in found}


def _kind(form: str, entry: dict[str, Any]) -> Kind:
    names = {language: tuple(str(name) for name in entry[language]) for language in ("en", "zh")}
    low, high = entry.get("range", (0, 0))
    made = next((source, entry[source]) for source in ("program", "key", "voice") if source in entry)
    doing, held, by = entry.get("doing", ""), entry.get("held", False), entry.get("by", False)
    name = names["en"][0].removeprefix("some ")
    return Kind(name, names, form, entry.get("does", ""), doing, (low, high), held, by, made)
