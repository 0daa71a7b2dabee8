"""The words of the world in English and Chinese, read from ``en.yaml`` and ``zh.yaml`` beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = ("en", "zh")
#: libyaml's loader reads a table in a few milliseconds; the one in Python is there on every machine.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def load_table(path: Path) -> dict[str, Any]:
    """The table in a YAML file, read once; it must not be changed."""
    return yaml.load(path.read_text(encoding="utf-8"), _LOADER)


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
