"""Media of visitors, for the page and the server: files in by the one door, replies out as files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from data.media.decoding_pool import DecodingPool
from data.media.file_formats import EXTENSIONS
from data.media.loading import UPLOAD_LIMITS, Limits, MediaError, Medium, load_medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from nextgpt_lite.any_to_any import ReplyMedium
from nextgpt_lite.commands.chat import VIDEO_REPEAT, VIDEO_UPSCALE, media_part


class VisitorsMedia:
    """The door for many visitors at a time: ``limits`` on each file, few decoding processes at once."""

    def __init__(self, limits: Limits = UPLOAD_LIMITS, processes: int = 2) -> None:
        self.limits = limits
        self._pool = DecodingPool(processes) if hasattr(os, "fork") else None

    def read(self, path: Path, name: str, wanted: str | None = None) -> dict[str, Any]:
        """The file at ``path`` as a content part. MediaError, which calls it ``name``, for one that is not taken in.

        ``wanted`` is the modality that it must have.
        """
        try:
            medium = load_medium(path, self.limits, self._pool.decode if self._pool else None)
        except MediaError as error:
            raise MediaError(str(error).replace(str(path), name).replace(path.name, name)) from None
        if wanted and medium.modality != wanted:
            raise MediaError(f"{name} holds {medium.modality}, not {wanted}")
        return media_part(medium)

    def close(self) -> None:
        if self._pool:
            self._pool.close()


def suffix_of(name: str) -> str:
    """The extension by which a file's name promises a format that is read here; empty without one.

    MediaError for an extension of another kind.
    """
    suffix = Path(name).suffix.lower()
    if suffix and suffix not in EXTENSIONS:
        raise MediaError(f"{suffix} files are not read; known are {' '.join(sorted(EXTENSIONS))}")
    return suffix


def as_file(medium: ReplyMedium) -> bytes:
    """A medium of a reply as the bytes of a file of its modality's type (``data.modalities``)."""
    scale = {"upscale": VIDEO_UPSCALE, "repeat": VIDEO_REPEAT} if medium.modality == "video" else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"medium{MODALITIES[medium.modality].suffix}"
        return save_medium(Medium(medium.modality, medium.array, medium.rate), path, **scale).read_bytes()


__all__ = ["UPLOAD_LIMITS", "Limits", "MediaError", "VisitorsMedia", "as_file", "suffix_of"]
