"""Captioned media as conversations, in the direction that a stage needs: told (X -> T) or made (T -> X)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from data.formats import BadRecord
from data.manifest import Record

#: What captions are for: the assistant tells what a medium shows, or makes the medium that a caption asks for.
TASKS = ("tell", "make")
_TELL = {
    "image": ("What does this picture show?", "Describe the picture in a sentence.", "What can be seen here?"),
    "video": ("What happens in this video?", "Describe the video in a sentence.", "What can be seen in this film?"),
    "audio": ("What can be heard here?", "Describe this sound in a sentence.", "What does this recording hold?"),
}
_MAKE = {
    "image": ("Draw this: {}", "Please make a picture: {}", "I would like to see this: {}"),
    "video": ("Film this: {}", "Please make a video: {}", "I would like to watch this: {}"),
    "audio": ("Let me hear this: {}", "Please make a sound: {}", "I would like to listen to this: {}"),
}
_HERE = ("Here it is.", "Here you are.", "This is what I have made.")


def check_task(task: str) -> str:
    """``task``, which must be one of TASKS."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r} of captions: expected one of {', '.join(TASKS)}")
    return task


def captioned(modality: str, path: str, caption: str, task: str, meta: dict) -> Record:
    """A medium and its caption as a question and a reply. The wording follows from path and caption alone."""
    caption = " ".join(caption.split())
    if not caption:
        raise BadRecord(f"the caption of {path!r} is empty")
    number = int(hashlib.sha256(f"{path}\n{caption}".encode()).hexdigest()[:8], 16)
    part = {"type": modality, "path": path}
    if task == "tell":
        asked, reply = [part, _text(_one(_TELL[modality], number))], [_text(caption)]
    else:
        asked = [_text(_one(_MAKE[modality], number).format(caption))]
        reply = [_text(_one(_HERE, number // 7)), {**part, "caption": caption}]
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
    return {"messages": messages, "meta": meta}


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


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def _one(options: tuple[str, ...], number: int) -> str:
    return options[number % len(options)]
