"""A conversation as one HTML page, or as a zip file that ``nextgpt-lite chat --conversation`` reads."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from demo.page.components.thread import is_small
from demo.page.turns import text_part
from demo.page.visitors import Visitor
from demo.texts import render, translate
from nextgpt_lite.conversation_media import interleave


def write_page(visitor: Visitor, identity: str = "") -> Path:
    """A conversation, by default the current one, as one HTML page that holds its media and refers to no other file."""
    conversation, language = visitor.find(identity), visitor.language
    path = conversation.folder / "conversation.html"
    turns, title = conversation.turns, conversation.title or translate(language, "new")
    shown = [each for turn in turns for each in (*turn.shown, *(shown for _, shown in turn.reply_files))]
    page = render("conversation", language, title=title, turns=turns, small=set(filter(is_small, shown)))
    path.write_text(page, encoding="utf-8")
    return path


def write_folder(visitor: Visitor, identity: str = "") -> Path:
    """A conversation, by default the current one, as a zip file: ``conversation.json``, and the media beside it."""
    conversation = visitor.find(identity)
    path = conversation.folder / "conversation.zip"
    messages: list[dict[str, Any]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, turn in enumerate(conversation.turns, 1):
            attached = zip(turn.modalities, turn.files, strict=True)
            media = _add_files(archive, f"{number}-user", attached)
            messages.append({"role": "user", "content": [*media, *text_part(turn.text)]})
            if turn.reply:
                modalities, files = [each.modality for each in turn.reply.media], [file for file, _ in turn.reply_files]
                media = _add_files(archive, f"{number}-model", zip(modalities, files, strict=False))
                places = [each.position for each in turn.reply.media][: len(media)]
                messages.append({"role": "assistant", "content": interleave(turn.reply.text, media, places)})
        archive.writestr("conversation.json", json.dumps({"messages": messages}, ensure_ascii=False, indent=2))
    return path


def _add_files(archive: zipfile.ZipFile, stem: str, files: Iterable[tuple[str, str | Path]]) -> list[dict[str, str]]:
    """Write (modality, file) pairs into the archive under plain names; returns their content parts."""
    parts = []
    for number, (modality, file) in enumerate(files, 1):
        name = f"{stem}-{number}{Path(file).suffix.lower()}"
        archive.write(file, name)
        parts.append({"type": modality, "path": name})
    return parts
