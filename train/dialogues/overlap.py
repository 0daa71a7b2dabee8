"""Whether records that are held out are trained on as well: the same words in the same order, the same media."""

import json
import os
from collections.abc import Iterable
from typing import Any

from data.atomic import hash_file
from data.records import ParsedRecord


def count_shared(held_out: Iterable[ParsedRecord], training: Iterable[ParsedRecord]) -> int:
    """How many of the records held out are among those of training. Only where words and sizes of files agree, files
    are hashed."""
    trained = [one for one in training if one.record is not None]
    sizes = {_key(one, _size) for one in trained}
    alike = [one for one in held_out if one.record is not None and _key(one, _size) in sizes]
    if not alike:
        return 0
    looked_at = {_key(one, _size) for one in alike}
    hashes = {_key(one, hash_file) for one in trained if _key(one, _size) in looked_at}
    return sum(_key(one, hash_file) in hashes for one in alike)


def _key(parsed: ParsedRecord, of_file: Any) -> str:
    messages = [
        [message["role"], *(_part(part, of_file) for part in message["content"])]
        for message in (parsed.record or {})["messages"]
    ]
    return json.dumps(messages)


def _part(part: dict[str, Any], of_file: Any) -> list[Any]:
    if part["type"] == "text":
        return ["text", part["text"]]
    path = part.get("path", "")
    return [part["type"], part.get("caption", ""), of_file(path) if os.path.isfile(path) else ""]


def _size(path: str) -> int:
    return os.path.getsize(path)
