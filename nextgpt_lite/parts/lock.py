"""The lock of pretrained parts, ``parts.yaml``: which wheels a part is made of, and which files it becomes.

    part = locked_part("smollm2")           # its wheels, files, licence; data.parts says where it lies

A part lies in ``parts/NAME`` of the cache folder: ``$NEXTGPT_LITE_CACHE``, or ``~/.cache/nextgpt_lite``. It is moved
there as a whole, so a folder that is there is complete; its ``part.json`` says which lock it was made by.
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import yaml

from data.parts import STAMP, PartError, cache_folder
from data.strict import nearest, read_json, read_settings, setting

LOCK_FILE = Path(__file__).parent / "parts.yaml"


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


def is_fetched(name: str) -> bool:
    """Whether the part lies in the cache folder, made by this lock, its files as long as they should be."""
    files, folder = locked_part(name).files, cache_folder() / "parts" / name
    try:
        stamp = read_json(folder / STAMP)
        whole = all((folder / file).stat().st_size == expected.bytes for file, expected in files.items())
    except (ValueError, OSError):  # not there, or not what a conversion writes
        return False
    return whole and stamp.get("files") == {file: asdict(expected) for file, expected in files.items()}
