"""Captioned media as conversations, in the direction that a stage needs: one's own pairs, and five published datasets.

    pairs                a table file,caption (or image,text, and the like) of any media
    COCO (1504.00325)    {"images": [{"id", "file_name"}], "annotations": [{"image_id", "id", "caption"}]}
    CC3M                 a table of caption and URL without a header; images as img2dataset writes them
    WebVid (2104.00650)  a table videoid,contentUrl,duration,page_dir,name
    AudioCaps            a table audiocap_id,youtube_id,start_time,caption
    MSR-VTT              {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]}

Nothing is downloaded: the media are files that a downloader of the dataset has written.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data.formats.sources import json_object, table_rows, text_of
from data.manifest import BadRecord, Record, shown
from data.modalities import modality_of_name
from data.records import ParsedRecord, parse_records
from data.text_files import parse_json

#: What captions are for: the assistant describes a medium (X -> T), or makes the medium of a caption (T -> X).
TASKS = ("tell", "make")
#: Columns of a table of pairs, and what others call them.
PAIR_COLUMNS = {
    "file": ("file_name", "filename", "filepath", "path", "image", "image_path", "video", "audio"),
    "caption": ("captions", "text", "description"),
}


def check_task(task: str) -> str:
    """``task``, which must be one of TASKS."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r} of captions: expected one of {', '.join(TASKS)}")
    return task


@cache
def phrases(name: str) -> dict[str, Any]:
    """A section of ``phrases.yaml``."""
    return yaml.safe_load((Path(__file__).parent / "phrases.yaml").read_text(encoding="utf-8"))[name]


def captioned(modality: str, path: str, caption: str, task: str, meta: dict) -> Record:
    """A medium and its caption as a question and a reply. The wording follows from path and caption alone."""
    caption = " ".join(caption.split())
    if not caption:
        raise BadRecord(f"the caption of {path!r} is empty")
    number = int(hashlib.sha256(f"{path}\n{caption}".encode()).hexdigest()[:8], 16)
    questions = phrases("captions")[task].get(modality)
    if questions is None:
        raise BadRecord(f"{path!r} is of {modality}, for which there are no questions about captions")
    question, part = questions[number % len(questions)], {"type": modality, "path": path}
    if task == "tell":
        asked, reply = [part, _text(question)], [_text(caption)]
    else:
        answers = phrases("captions")["here"]
        asked = [_text(question.format(caption))]
        reply = [_text(answers[number // 7 % len(answers)]), {**part, "caption": caption}]
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
    return {"messages": messages, "meta": meta}


def pair_records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[ParsedRecord]:
    """One record a row of a table of PAIR_COLUMNS; the extension tells the medium, other columns are ``meta``."""
    check_task(task)

    def parse(row: dict[str, str]) -> Record:
        path = text_of(row, "file")
        modality = modality_of_name(path)
        if modality is None:
            raise BadRecord(f"the extension of {path!r} is of no known medium")
        meta = {name: value for name, value in row.items() if name not in PAIR_COLUMNS}
        return captioned(modality, path, text_of(row, "caption"), task, meta)

    return parse_records(table_rows(source, tuple(PAIR_COLUMNS), aliases=PAIR_COLUMNS), parse)


def coco_records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[ParsedRecord]:
    """One record a caption: an image has five. ``meta`` holds the numbers of image and caption."""
    check_task(task)
    stored = json_object(source, "images", "annotations")
    images = {image["id"]: image for image in stored["images"] if isinstance(image, dict) and _is_id(image.get("id"))}

    def parse(entry: Any) -> Record:
        if not isinstance(entry, dict):
            raise BadRecord(f"expected an object, not {shown(entry)}")
        number = entry.get("image_id")
        if not _is_id(number) or number not in images:
            raise BadRecord(f"image_id {shown(number)} is not among the images")
        meta = {"image_id": number, "id": entry.get("id")}
        return captioned("image", text_of(images[number], "file_name"), text_of(entry, "caption"), task, meta)

    entries = ((f"{source}, annotation {n}", entry) for n, entry in enumerate(stored["annotations"], start=1))
    return parse_records(entries, parse)


def cc3m_records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[ParsedRecord]:
    """One record a row; ``meta`` holds its URL.

    The image of row N (from 0) is ``00012/000123456.jpg``: nine digits of N in a folder of the first five. Where
    img2dataset's ``.json`` lies beside an image, the URL in it must be the row's.
    """
    check_task(task)
    folder = source.parent if media is None else media

    def parse(entry: tuple[int, dict[str, str]]) -> Record:
        number, row = entry
        key = f"{number:09}"
        path = first_file(folder, [f"{key[:5]}/{key}", key], (".jpg", ".png", ".webp", ".jpeg"))
        sidecar = (folder / path).with_suffix(".json")
        if sidecar.is_file() and (found := _url(sidecar)) != row["url"]:
            raise BadRecord(f"{path} was downloaded from {found}, this row is of {row['url']}")
        return captioned("image", path, row["caption"], task, {"url": row["url"]})

    rows = enumerate(table_rows(source, ("caption", "url"), delimiter="\t", header=False))
    return parse_records(((at, row if isinstance(row, BadRecord) else (n, row)) for n, (at, row) in rows), parse)


def webvid_records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[ParsedRecord]:
    """One record a row; ``meta`` holds the number of the video.

    A video is ``PAGE_DIR/VIDEOID.mp4``, as WebVid's downloader writes it, or ``VIDEOID.mp4``.
    """
    check_task(task)
    folder = source.parent if media is None else media

    def parse(row: dict[str, str]) -> Record:
        number = text_of(row, "videoid")
        stems = [f"{row['page_dir']}/{number}"] if row.get("page_dir") else []
        path = first_file(folder, [*stems, number], (".mp4", ".webm", ".mov"))
        return captioned("video", path, text_of(row, "name"), task, {"videoid": number})

    return parse_records(table_rows(source, ("videoid", "name")), parse)


def audiocaps_records(source: Path, *, media: Path | None = None, task: str = "tell") -> Iterator[ParsedRecord]:
    """One record a caption; ``meta`` holds its number and its video.

    A file is named by the number of its caption (as in NExT-GPT's folders), by its video, or by video and start
    ("ID_30"), with or without AudioSet's "Y" before the video.
    """
    check_task(task)
    folder = source.parent if media is None else media
    columns = ("audiocap_id", "youtube_id", "start_time")

    def parse(row: dict[str, str]) -> Record:
        number, video, start = (text_of(row, name) for name in columns)
        stems = [number, f"{video}_{start}", video, f"Y{video}"]
        path = first_file(folder, stems, (".wav", ".flac", ".mp3", ".m4a", ".ogg"))
        meta = {"audiocap_id": number, "youtube_id": video}
        return captioned("audio", path, text_of(row, "caption"), task, meta)

    return parse_records(table_rows(source, (*columns, "caption")), parse)


def msrvtt_records(
    source: Path, *, media: Path | None = None, task: str = "tell", split: str = ""
) -> Iterator[ParsedRecord]:
    """One record a sentence, of the videos of ``split`` ("" = all); ``meta`` holds the name of the video."""
    check_task(task)
    folder = source.parent if media is None else media
    stored = json_object(source, "videos", "sentences")
    videos = {each["video_id"] for each in stored["videos"] if not split or each.get("split") == split}

    def parse(entry: dict[str, Any]) -> Record:
        name = text_of(entry, "video_id")
        path = first_file(folder, [name], (".mp4", ".webm", ".mov", ".avi"))
        return captioned("video", path, text_of(entry, "caption"), task, {"video_id": name})

    entries = enumerate(stored["sentences"], start=1)
    return parse_records(
        ((f"{source}, sentence {n}", each) for n, each in entries if each["video_id"] in videos), parse
    )


def first_file(folder: Path, stems: list[str], suffixes: tuple[str, ...]) -> str:
    """The first of ``stems`` that is a file of ``folder`` with one of ``suffixes``; BadRecord where none is."""
    for stem in stems:
        if ".." in Path(stem).parts or Path(stem).is_absolute():
            raise BadRecord(f"the path {stem!r} leaves the media folder")
        for suffix in suffixes:
            if (folder / f"{stem}{suffix}").is_file():
                return f"{stem}{suffix}"
    names = " or ".join(f"{stem}{{{','.join(suffixes)}}}" for stem in stems)
    raise BadRecord(f"there is no file {names}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _url(path: Path) -> str | None:
    """The URL in what img2dataset wrote beside an image."""
    return parse_json(path.read_bytes()).get("url")


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
