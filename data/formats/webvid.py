"""WebVid (2104.00650): a table ``videoid,contentUrl,duration,page_dir,name`` and a folder of downloaded videos.

Nothing is fetched. A video is ``PAGE_DIR/VIDEOID.mp4``, as its downloader writes it, or ``VIDEOID.mp4``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats import Located, located
from data.formats.captions import captioned, check_task, first_file
from data.formats.sources import table_rows, text_of
from data.manifest import Record


def records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[Located]:
    """One record a row; ``meta`` holds the number of the video."""
    check_task(task)
    folder = source.parent if media is None else media
    return located(table_rows(source, ("videoid", "name")), lambda row: _record(row, folder, task))


def _record(row: dict[str, Any], folder: Path, task: str) -> Record:
    number = text_of(row, "videoid")
    stems = [f"{row['page_dir']}/{number}"] if row.get("page_dir") else []
    path = first_file(folder, [*stems, number], (".mp4", ".webm", ".mov"))
    return captioned("video", path, text_of(row, "name"), task, {"videoid": number})
