"""Text from outside: UTF-8, with or without a byte-order mark, or UTF-16 and UTF-32 with one; JSON with one error.

:func:`check_texts` is asked wherever words come in: messages, requests, manifests, datasets.
"""

import codecs
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

_MARKS = {
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),  # begins as UTF-16's does, so it is first
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
}

_SURROGATES = re.compile("[\ud800-\udfff]")
#: No space stands beside these: blanks, and characters of languages that set none between words.
_NO_SPACE = re.compile(r"[\s\u2e80-\ua4cf\uf900-\uffef]")


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first four bytes; the mark itself is no part of the text that Python decodes."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8-sig")


def decode_text(content: bytes) -> str:
    """The text in ``content``. UnicodeDecodeError, which is a ValueError, for bytes that are none."""
    return content.decode(encoding_of(content[:4]))


def read_text(path: str | os.PathLike[str]) -> str:
    """The text in a file, line ends as ``\\n``. OSError, and ValueError for a path or for bytes that are no text."""
    with Path(path).open("rb") as file:
        encoding = encoding_of(file.read(4))
    return Path(path).read_text(encoding=encoding)


def open_records(path: str | os.PathLike[str], newline: str | None = None) -> TextIO:
    """A file of many records, opened as text.

    Bytes that are not UTF-8 become lone surrogates, so that one broken record hides no other:
    :func:`data.manifest.parse_entries` refuses those that hold some.
    """
    with Path(path).open("rb") as file:
        encoding = encoding_of(file.read(4))
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return Path(path).open(encoding=encoding, errors=errors, newline=newline)


def parse_json(text: str | bytes) -> Any:
    """The value in a JSON text. ValueError, whatever is wrong with it."""
    try:
        return json.loads(decode_text(text) if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        raise ValueError(f"not JSON ({'nested too deep' if deep else error})") from error


def check_texts(value: Any) -> None:
    """ValueError for a text with bytes that were not UTF-8, or with half a surrogate pair, anywhere in ``value``."""
    found = [value]
    while found:
        item = found.pop()
        if isinstance(item, str):
            if not item.isascii() and _SURROGATES.search(item):
                shown = _SURROGATES.sub("?", item)
                raise ValueError(f"broken text, which is not UTF-8: {shown[:57] + '...' if len(shown) > 60 else shown}")
        elif isinstance(item, dict):
            found += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            found += item


def join_texts(texts: Iterable[str]) -> str:
    """Texts that follow each other as one. A space stands between two that bring none, except beside Chinese."""
    joined: list[str] = []
    for text in filter(None, texts):
        if joined and not (_NO_SPACE.match(joined[-1][-1]) or _NO_SPACE.match(text[0])):
            joined.append(" ")
        joined.append(text)
    return "".join(joined)
