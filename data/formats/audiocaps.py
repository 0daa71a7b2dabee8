"""AudioCaps: a table ``audiocap_id,youtube_id,start_time,caption`` and a folder of downloaded sounds.

Nothing is fetched. A sound is named by the number of its caption (as in NExT-GPT's folders), by its video, or by
video and start ("ID_30"); AudioSet's "Y" before the name of a video is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import Located, located
from data.formats.captions import captioned, check_task, first_file
from data.formats.sources import table_rows, text_of
from data.manifest import Record

SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg")


def records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[Located]:
    """One record a caption; ``meta`` holds its number and its video."""
    check_task(task)
    folder = source.parent if media is None else media
    columns = ("audiocap_id", "youtube_id", "start_time", "caption")
    return located(table_rows(source, columns), lambda row: _record(row, folder, task))


def _record(row: dict[str, Any], folder: Path, task: str) -> Record:
    number, video, start = (text_of(row, name) for name in ("audiocap_id", "youtube_id", "start_time"))
    path = first_file(folder, [number, f"{video}_{start}", video, f"Y{video}"], SUFFIXES)
    meta = {"audiocap_id": number, "youtube_id": video}
    return captioned("audio", path, text_of(row, "caption"), task, meta)
