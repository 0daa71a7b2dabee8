"""Manifests: conversations as JSON lines beside their media files.

One line is ``{"messages": [{"role", "content": [part, ...]}, ...], "meta": {...}}`` with the content parts of Hugging
Face chat templates: ``{"type": "text", "text"}`` or ``{"type": "image" | "video" | "audio" | "points", "path"}``. Media
of the assistant also carry the ``caption`` that a decoder is to follow, and may have no ``path``: data sets that teach
when to answer with which medium publish captions alone. Paths are relative to the manifest's folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from data.modalities import MODALITIES

ROLES = ("system", "user", "assistant")
Record = dict[str, Any]


class FormatError(ValueError):
    """A manifest that does not keep the format; the message names file and line."""


def read_manifest(path: str | os.PathLike[str]) -> Iterator[Record]:
    """The records of the manifest at ``path``, one a line, blank lines left out.

    Content is always a list of parts, ``meta`` always a mapping, and each media path that of the file itself, so that
    the messages can be handed to a model as they are. FormatError at the first line that is wrong, not before.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield read_line(line, path.parent, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def write_manifest(path: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Writes ``records`` aside and renames; returns their number. Media paths must lie in the manifest's folder."""
    path = Path(path)
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    count = 0
    try:
        with aside.open("w", encoding="utf-8") as file:
            for count, record in enumerate(records, start=1):
                where = f"{path}, record {count}"
                relative = [_relative_message(message, path.parent, where) for message in record["messages"]]
                line = json.dumps({"messages": relative, "meta": record.get("meta", {})}, ensure_ascii=False)
                read_line(line, path.parent, where)
                file.write(line + "\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return count


def read_line(line: str, folder: Path | None, where: str) -> Record:
    """The record in one line of a manifest in ``folder``; FormatError, which names ``where``, for a wrong one.

    Without a folder the media are elsewhere (in an archive, say), and paths stay what they are.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON ({error})") from error
    if not isinstance(record, dict) or not isinstance(record.get("messages"), list) or not record["messages"]:
        raise FormatError(f'{where}: expected an object with a list "messages" that is not empty')
    unknown = set(record) - {"messages", "meta"}
    if unknown:
        raise FormatError(f"{where}: unknown keys {', '.join(sorted(unknown))}; known are messages, meta")
    meta = record.get("meta", {})
    if not isinstance(meta, dict):
        raise FormatError(f'{where}: "meta" must be an object, not {type(meta).__name__}')
    messages = [_read_message(message, folder, where) for message in record["messages"]]
    if any(message["role"] == "system" for message in messages[1:]):
        raise FormatError(f"{where}: a system message may only come first")
    return {"messages": messages, "meta": meta}


def _read_message(message: Any, folder: Path | None, where: str) -> dict[str, Any]:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise FormatError(f'{where}: a message has the keys "role" and "content", not {_shown(message)}')
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise FormatError(f"{where}: unknown role {role!r}; known are {', '.join(ROLES)}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise FormatError(f"{where}: content must be text or a list of parts, not {_shown(content)}")
    return {"role": role, "content": [_read_part(part, role, folder, where) for part in content]}


def _read_part(part: Any, role: str, folder: Path | None, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise FormatError(f'{where}: a text part needs a string "text"')
        return part
    if kind not in MODALITIES:
        raise FormatError(f"{where}: unknown content {_shown(part)}; known types are text, {', '.join(MODALITIES)}")
    if role == "system":
        raise FormatError(f"{where}: a system message holds text only, not {kind}")
    caption = part.get("caption")
    if role == "assistant" and (not isinstance(caption, str) or not caption.strip()):
        raise FormatError(f'{where}: an {kind} of the assistant needs a "caption"')
    if role == "assistant" and "path" not in part:
        return part
    if folder is None and isinstance(part.get("path"), str):
        return dict(part)
    return {**part, "path": str(inside(part.get("path"), folder or Path(), where))}


def inside(path: Any, folder: Path, where: str) -> Path:
    """The file that the relative ``path`` means, which must exist and lie in ``folder``, links followed.

    FormatError, which names ``where``, for any other.
    """
    if not isinstance(path, str) or not path:
        raise FormatError(f'{where}: a medium needs a "path"')
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or "\\" in path:
        raise FormatError(f"{where}: the path {path!r} is not relative to the manifest, with / between folders")
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise FormatError(f"{where}: the path {path!r} leaves the manifest's folder")
    if not file.is_file():
        raise FormatError(f"{where}: there is no file {path!r}")
    return file


def _relative_message(message: dict[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """``message`` with paths relative to ``folder``."""
    if isinstance(message["content"], str):
        return message
    return {**message, "content": [_relative_part(part, folder, where) for part in message["content"]]}


def _relative_part(part: dict[str, Any], folder: Path, where: str) -> dict[str, Any]:
    if "path" not in part:
        return part
    path = Path(part["path"])
    if path.is_absolute() or path.is_relative_to(folder):
        if not path.is_relative_to(folder):
            raise FormatError(f"{where}: the path {part['path']!r} leaves the manifest's folder")
        path = path.relative_to(folder)
    return {**part, "path": path.as_posix()}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
