"""Media of dialogues by reference: scenes of Toybox, files of a manifest, media of a stream; read when needed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.decoding_pool import decode_in_pool
from data.media_intake import MediaError, load_bytes, load_medium
from data.modalities import MODALITIES
from data.toybox import render
from data.toybox.dialogues.stream import MediaPart
from data.toybox.out_of_distribution.kinds import outsider

#: When media of a manifest are embedded: before training (and kept), or in each step. Else a folder of embeddings.
AT_START, IN_STEPS = "start", "steps"


@dataclass(frozen=True)
class FilePart:
    """A medium in a file of a manifest, or in a stream, which brings its ``content``.

    ``root`` is the manifest's folder. Without a ``path`` there is a ``caption`` alone: the assistant makes a medium
    that nobody has. ``embedded`` says when: AT_START, IN_STEPS, or a folder that ``nextgpt-lite embed`` wrote.
    """

    modality: str
    path: str = ""
    caption: str = ""
    root: str = ""
    embedded: str = AT_START
    content: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The path as the manifest has it."""
        return Path(self.path).relative_to(self.root).as_posix() if self.root else self.path


Part = MediaPart | FilePart


def is_there(part: Part) -> bool:
    """Whether there is a medium, not a caption alone."""
    return isinstance(part, MediaPart) or bool(part.path)


def embedded(part: Part) -> str:
    """When a part is embedded; scenes of Toybox always before training."""
    return part.embedded if isinstance(part, FilePart) else AT_START


def read_part(part: Part) -> tuple[np.ndarray, float | None]:
    """Array and rate of a medium: a render of its scene, something from outside the world, or its file.

    Raises data.media_intake.MediaError for a file that cannot be taken in or holds another modality.
    """
    if isinstance(part, MediaPart):
        array = render(part.scene, part.modality) if part.scene is not None else _from_outside(part)
        return array, MODALITIES[part.modality].rate
    if part.content is None:
        medium = load_medium(part.path, decode=decode_in_pool)
    else:
        medium = load_bytes(part.path, part.content, decode=decode_in_pool)
    if medium.modality != part.modality:
        raise MediaError(f"{part.name!r} is listed as {part.modality}, but it holds {medium.modality}")
    return medium.array, medium.rate


def fingerprint(part: Part) -> str:
    """What tells a medium from any other, and a file from what it was before it was changed."""
    if isinstance(part, MediaPart) or not part.path:
        return repr(part)
    status = os.stat(part.path)
    return f"{part.modality} {part.path} {status.st_size} {status.st_mtime_ns}"


def _from_outside(part: MediaPart) -> Any:
    assert part.outsider is not None
    return outsider(part.modality, *part.outsider)
