"""Where pretrained parts lie: models that ordinary packages carry, fetched and converted by nextgpt_lite.parts."""

import os
from pathlib import Path

VARIABLE = "NEXTGPT_LITE_CACHE"
#: What a part's folder has when it is whole.
STAMP = "part.json"


class PartError(ValueError):
    """A part that cannot be had, with a sentence that says why."""


class PartMissing(PartError):
    """A part that has not been fetched."""


def cache_folder() -> Path:
    """The folder that parts are kept in, whether it is there or not. PartError where no home folder is known."""
    try:
        return Path(os.environ.get(VARIABLE) or "~/.cache/nextgpt_lite").expanduser().absolute()
    except RuntimeError:
        raise PartError(f"no home folder is known to keep parts in: set {VARIABLE} to a folder") from None


def part_folder(name: str) -> Path:
    """The folder of a part. PartMissing, with the command that gets it, where it is not there."""
    folder = cache_folder() / "parts" / name
    if not (folder / STAMP).is_file():
        raise PartMissing(
            f"the pretrained part {name} is not in {folder.parent}: get it with `nextgpt-lite models --fetch {name}`"
        )
    return folder
