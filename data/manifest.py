"""Manifests: conversations as JSON lines beside their media files.

One line is ``{"messages": [{"role", "content": [part, ...]}, ...], "meta": {...}}`` with the content parts of Hugging
Face chat templates: ``{"type": "text", "text"}`` or ``{"type": "image" | "video" | "audio" | "points", "path"}``. Media
of the assistant also carry the ``caption`` that a decoder follows, and may have no ``path``: datasets that teach when
to answer with which medium publish captions alone. A third key ``rejected`` is the content of a reply that is worse
than the last one, for preference tuning. Paths are relative to the manifest's folder. A table of media and
their captions (data.formats.captions) is read wherever a manifest is.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from data.atomic import atomic_file
from data.modalities import MODALITIES
from data.text_files import check_texts, open_records, parse_json

ROLES = ("system", "user", "assistant")
#: Suffixes of tables that are read in place of manifests.
TABLES = (".csv", ".tsv")
Record = dict[str, Any]


class FormatError(ValueError):
    """A file that does not keep its format; the message names the file, and the line where there is one."""


class BadRecord(ValueError):
    """One record that cannot be used; the message is a sentence without its place."""


def parse_entries(entries: Iterable[tuple[str, Any]], parse: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """(place, what ``parse`` makes of the entry) for the entries of a source, or in its place the BadRecord that it is.

    The one place that decides what a bad record is, for every reader: an entry that is a BadRecord itself, whatever
    ``parse`` raises because of it, and texts that are none.
    """
    for where, entry in entries:
        try:
            if isinstance(entry, BadRecord):
                raise entry
            parsed = parse(entry)
            check_texts(parsed)
        except ValueError as error:
            yield where, error if isinstance(error, BadRecord) else BadRecord(str(error))
        except (TypeError, LookupError, AttributeError, OSError, RecursionError) as error:
            yield where, BadRecord(f"not of the format ({type(error).__name__}: {error})")
        else:
            yield where, parsed


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a dataset is a table of media and their captions, by its name."""
    return Path(path).suffix.lower() in TABLES


def read_manifest(path: str | os.PathLike[str]) -> Iterator[Record]:
    """The records of the manifest at ``path``, one a line, blank lines skipped.

    Content is always a list of parts, ``meta`` always a mapping, and each media path that of the file itself, so that
    the messages can be passed to a model as they are. FormatError at the first line that is wrong, not before.
    """
    for where, record in manifest_records(path):
        if isinstance(record, BadRecord):
            raise FormatError(f"{where}: {record}") from record
        yield record


def manifest_records(path: str | os.PathLike[str], task: str = "tell") -> Iterator[tuple[str, Any]]:
    """(place, record or BadRecord) of each line that is not blank. FormatError where the file cannot be read.

    ``task`` says what the captions of a table are for (data.formats.captions).
    """
    folder = Path(path).parent
    if is_table(path):
        from data.formats.captions import pair_records  # which reads manifests' records itself

        pairs = ((row.where, row.record or BadRecord(row.problem)) for row in pair_records(Path(path), task=task))
        yield from parse_entries(pairs, lambda record: check_record(record, folder))
        return
    try:
        with open_records(path) as file:
            lines = ((f"{path}, line {number}", line) for number, line in enumerate(file, start=1) if line.strip())
            yield from parse_entries(lines, lambda line: check_record(parse_json(line), folder))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str | os.PathLike[str], error: Exception) -> FormatError:
    """The FormatError for a file whose reading raised ``error``."""
    return FormatError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")


def write_manifest(path: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Write ``records`` atomically; returns their number. Media paths must lie in the manifest's folder."""
    path = Path(path)
    count = 0
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for count, record in enumerate(records, start=1):
            try:
                relative = replace_paths(record, lambda part: _relative(Path(part["path"]), path.parent))
                check_texts(check_record(relative, path.parent))
            except ValueError as error:
                raise FormatError(f"{path}, record {count}: {error}") from error
            file.write(json.dumps(relative, ensure_ascii=False) + "\n")
    return count


def media_parts(record: Record) -> Iterator[dict[str, Any]]:
    """The parts of a record that have a file, in order."""
    for message in record["messages"]:
        yield from (part for part in message["content"] if "path" in part)


def replace_paths(record: Record, new_path: Callable[[dict[str, Any]], str]) -> Record:
    """``record`` with the path of each part that has a file replaced by what ``new_path`` gives for the part."""

    def replaced(content: Any) -> Any:
        if isinstance(content, str):
            return content
        return [{**part, "path": new_path(part)} if "path" in part else part for part in content]

    messages = [{**message, "content": replaced(message["content"])} for message in record["messages"]]
    worse = {"rejected": replaced(record["rejected"])} if "rejected" in record else {}
    return {"messages": messages, "meta": record.get("meta", {}), **worse}


def check_record(value: Any, folder: Path | None) -> Record:
    """``value`` as a record with normalised content, its media in ``folder``. BadRecord for anything else.

    Without a folder the media are elsewhere (in an archive, for example), and paths are not looked up.
    """
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list) or not value["messages"]:
        raise BadRecord('expected an object with a list "messages" that is not empty')
    if unknown := set(value) - {"messages", "meta", "rejected"}:
        raise BadRecord(f"unknown keys {', '.join(sorted(unknown))}; known are messages, meta, rejected")
    meta = value.get("meta", {})
    if not isinstance(meta, dict):
        raise BadRecord(f'"meta" must be an object, not {type(meta).__name__}')
    messages = [_check_message(message, folder) for message in value["messages"]]
    if any(message["role"] == "system" for message in messages[1:]):
        raise BadRecord("a system message may only come first")
    worse = {}
    if "rejected" in value:
        if messages[-1]["role"] != "assistant":
            raise BadRecord('"rejected" is in the place of the last message, which is not the assistant\'s')
        worse["rejected"] = _check_message({"role": "assistant", "content": value["rejected"]}, folder)["content"]
    return {"messages": messages, "meta": meta, **worse}


def find_file(path: Any, folder: Path) -> Path:
    """The file at the relative ``path``, which must exist and lie in ``folder``, links followed; BadRecord if not."""
    if not isinstance(path, str) or not path:
        raise BadRecord('a medium needs a "path"')
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or "\\" in path:
        raise BadRecord(f"the path {path!r} is not relative to the manifest, with / between folders")
    file = folder / path
    try:
        within = file.resolve().is_relative_to(folder.resolve())
        exists = file.is_file()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a circle of links, a null character
        within, exists = True, False
    if not within:
        raise BadRecord(f"the path {path!r} leaves the manifest's folder")
    if not exists:
        raise BadRecord(f"there is no file {path!r}")
    return file


def shown(value: Any, length: int = 60) -> str:
    """A value as JSON, short enough for a sentence."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= length else text[: length - 3] + "..."


def _check_message(message: Any, folder: Path | None) -> dict[str, Any]:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise BadRecord(f'a message has the keys "role" and "content", not {shown(message, 80)}')
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise BadRecord(f"unknown role {role!r}; known are {', '.join(ROLES)}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise BadRecord(f"content must be text or a list of parts, not {shown(content, 80)}")
    return {"role": role, "content": [_check_part(part, role, folder) for part in content]}


def _check_part(part: Any, role: str, folder: Path | None) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise BadRecord('a text part needs a string "text"')
        return part
    if not isinstance(kind, str) or kind not in MODALITIES:
        raise BadRecord(f"unknown content {shown(part, 80)}; known types are text, {', '.join(MODALITIES)}")
    if role == "system":
        raise BadRecord(f"a system message holds text only, not {kind}")
    caption = part.get("caption")
    if role == "assistant" and (not isinstance(caption, str) or not caption.strip()):
        raise BadRecord(f'an {kind} of the assistant needs a "caption"')
    if role == "assistant" and "path" not in part:
        return part
    if folder is None and isinstance(part.get("path"), str):
        return dict(part)
    return {**part, "path": str(find_file(part.get("path"), folder or Path()))}


def _relative(path: Path, folder: Path) -> str:
    if path.is_relative_to(folder):
        path = path.relative_to(folder)
    elif path.is_absolute():
        raise BadRecord(f"the path {str(path)!r} leaves the manifest's folder")
    return path.as_posix()
