"""References to the media of conversations: scenes of Toybox, files of a manifest, media of a stream."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.media.decoding_pool import decode_in_pool
from data.media.loading import MediaError, load_bytes, load_medium
from data.modalities import MODALITIES
from data.toybox import MediaPart, render_medium

#: When media of a manifest are embedded: before training (and kept), or in each step. Else a folder of embeddings.
AT_START, IN_STEPS = "start", "steps"


@dataclass(frozen=True)
class MediaFile:
    """A medium in a file of a manifest, or in a stream, which brings its ``content``.

    ``root`` is the manifest's folder. Without a ``path`` there is a ``caption`` alone: the assistant is to make a
    medium of which there is no file. ``embedded`` says when: AT_START, IN_STEPS, or before, into that folder.
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


Medium = MediaPart | MediaFile


def has_content(medium: Medium) -> bool:
    """Whether there is a medium, not a caption alone."""
    return isinstance(medium, MediaPart) or bool(medium.path)


def embedded(medium: Medium) -> str:
    """When a medium is embedded; scenes of Toybox always before training."""
    return medium.embedded if isinstance(medium, MediaFile) else AT_START


def read_medium(medium: Medium) -> tuple[np.ndarray, float | None]:
    """Array and rate of a medium: a render of its scene, or its file.

    Raises data.media.loading.MediaError for a file that cannot be read or holds another modality.
    """
    if isinstance(medium, MediaPart):
        return render_medium(medium), MODALITIES[medium.modality].rate
    if medium.content is None:
        found = load_medium(medium.path, decode=decode_in_pool)
    else:
        found = load_bytes(medium.path, medium.content, decode=decode_in_pool)
    if found.modality != medium.modality:
        raise MediaError(f"{medium.name!r} is listed as {medium.modality}, but it holds {found.modality}")
    return found.array, found.rate


def fingerprint(medium: Medium) -> str:
    """A text that differs between media, and for a file that has been changed since."""
    if isinstance(medium, MediaPart) or not medium.path:
        return repr(medium)
    status = os.stat(medium.path)
    return f"{medium.modality} {medium.path} {status.st_size} {status.st_mtime_ns}"
