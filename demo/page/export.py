"""A conversation to take along: a folder in a zip file that ``nextgpt-lite chat --conversation`` reads, or one page."""

from __future__ import annotations

import html
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.page.conversations import Conversation, Turn
from demo.page.data_urls import file_html
from demo.page.words import say

_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; background: #faf9f7; color: #292524;
  font: 1rem/1.6 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; }}
section {{ margin: 1rem 0; padding: .8rem 1.1rem; border-radius: 14px; background: #fff; border: 1px solid #e7e5e4; }}
section.user {{ margin-left: 18%; background: #e6f2ef; border-color: #cfe5df; }}
h1 {{ font-size: 1.2rem; }} h2 {{ font-size: .75rem; color: #78716c; margin: 0 0 .3rem; font-weight: 600; }}
p {{ margin: .2rem 0; white-space: pre-wrap; }} img, video {{ max-width: 256px; border-radius: 10px; display: block; }}
</style></head><body><h1>{title}</h1>
{turns}
</body></html>
"""


def write_page(conversation: Conversation, path: Path, language: str) -> Path:
    """One HTML page that holds its media; nothing in it comes from elsewhere."""
    turns = "\n".join(_sections(conversation, language))
    title = html.escape(conversation.title(language))
    path.write_text(_PAGE.format(language=language, title=title, turns=turns), encoding="utf-8")
    return path


def write_folder(conversation: Conversation, path: Path) -> Path:
    """A zip file with ``conversation.json`` and the media beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        messages: list[dict[str, Any]] = []
        for number, turn in enumerate(conversation.turns, 1):
            asked = list(_parts(archive, f"{number}-user", list(zip(_modalities(turn), turn.files, strict=True))))
            messages.append({"role": "user", "content": [*asked, *_text(turn.text)]})
            if turn.reply:
                media = [medium.modality for medium in turn.reply.media]
                made = list(_parts(archive, f"{number}-model", list(zip(media, turn.reply_files, strict=False))))
                messages.append({"role": "assistant", "content": [*_text(turn.reply.text), *made]})
        archive.writestr("conversation.json", json.dumps({"messages": messages}, ensure_ascii=False, indent=2))
    return path


def _sections(conversation: Conversation, language: str) -> Iterator[str]:
    for turn in conversation.turns:
        yield _section("user", say(language, "you"), turn.text, turn.shown)
        if turn.reply:
            yield _section("model", say(language, "nano"), turn.reply.text, turn.reply_files)


def _section(role: str, name: str, text: str, files: list[Path]) -> str:
    media = "".join(file_html(file) for file in files)
    return f'<section class="{role}"><h2>{name}</h2>{media}<p>{html.escape(text)}</p></section>'


def _parts(archive: zipfile.ZipFile, stem: str, files: list[tuple[str, Any]]) -> Iterator[dict[str, str]]:
    """Put files into the archive under plain names; gives their content parts."""
    for place, (modality, file) in enumerate(files, 1):
        name = f"{stem}-{place}{Path(file).suffix.lower()}"
        archive.write(file, name)
        yield {"type": modality, "path": name}


def _modalities(turn: Turn) -> list[str]:
    return [part["type"] for part in turn.message["content"] if part["type"] != "text"]


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}] if text else []
