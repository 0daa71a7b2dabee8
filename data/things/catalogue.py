"""The named things: about 500 of them, each with names in English and Chinese and a picture on a sheet."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Thing:
    """A named thing.

    Attributes:
        name: the first of its English names; unique, and what scenes and captions call it.
        names: language ("en", "zh") -> names, the usual one first. "some" stands before what takes no article.
        kind: what it is, e.g. "animal".
        sheet, tile: where its picture is.
        code: the code points that its picture has in Unicode's list of emoji.
        held_out: whether training never sees it, so that what is new can be measured.
    """

    name: str
    names: dict[str, tuple[str, ...]]
    kind: str
    sheet: str
    tile: int
    code: str
    held_out: bool


@cache
def catalogue() -> dict[str, Thing]:
    """Name -> thing, in the order of the sheets."""
    table = yaml.load((FOLDER / "catalogue.yaml").read_text(encoding="utf-8"), _LOADER)
    return {
        thing.name: thing
        for sheet, entries in table.items()
        for thing in (_thing(sheet, tile, entry) for tile, entry in enumerate(entries))
    }


def trained_things() -> list[str]:
    """Names of the things that training sees."""
    return [thing.name for thing in catalogue().values() if not thing.held_out]


def held_out_things() -> list[str]:
    """Names of the things that training never sees."""
    return [thing.name for thing in catalogue().values() if thing.held_out]


def _thing(sheet: str, tile: int, entry: dict[str, Any]) -> Thing:
    names = {language: tuple(str(name) for name in entry[language]) for language in ("en", "zh")}
    held_out = entry.get("held_out", False)
    return Thing(names["en"][0].removeprefix("some "), names, entry["kind"], sheet, tile, entry["code"], held_out)
