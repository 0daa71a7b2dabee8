"""What an expert is, and how the words of several reach the prompt."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from data.text_files import check_texts

#: Characters of one expert's words on one part; what is longer is cut, so that it cannot push out the conversation.
MAX_CONTEXT_CHARACTERS = 400
MAX_REMEMBERED = 1000  #: Parts whose words are kept, the newest ones.
LOCAL = {"local_files_only": True, "trust_remote_code": False}
_CHINESE = re.compile("[\u4e00-\u9fff]")


class ExpertError(ValueError):
    """An expert that cannot be used, with a sentence that says why."""


class Expert(Protocol):
    """Something that can say a few words on a part of a message."""

    #: How its words are introduced in the text; ``{type}`` and ``{number}`` in it are the part's.
    name: str
    reads: tuple[str, ...]  #: types of the parts that it reads: "text", "image", "video", "audio", "points"

    def context(self, part: dict[str, Any]) -> str:
        """What it says of ``part``; "" when it has nothing to say.

        ``language`` is that of its message, ``number`` says the how manieth of its type the user has shown.
        """
        ...


class Experts:
    """Adds the words of several experts to the user's messages, and remembers them."""

    def __init__(self, experts: Sequence[Expert]) -> None:
        self.experts = list(experts)
        self._said: dict[tuple[str, str, str], str] = {}

    def add_context(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """New messages, the experts' words in front of the text that follows each part."""
        return add_words(messages, self._words)

    def _words(self, part: dict[str, Any]) -> list[str]:
        experts = [expert for expert in self.experts if part["type"] in expert.reads]
        return [introduced(expert.name, self._ask(expert, part), part) for expert in experts]

    def _ask(self, expert: Expert, part: dict[str, Any]) -> str:
        if part["type"] != "text" and part.get("array") is None:
            return ""  # only an embedding is given: there is no array to read
        key = (expert.name, part["language"], _fingerprint(part))
        if key not in self._said:
            if len(self._said) >= MAX_REMEMBERED:
                del self._said[next(iter(self._said))]
            self._said[key] = expert.context(part)
        return self._said[key]


def add_words(
    messages: Sequence[dict[str, Any]], words_of: Callable[[dict[str, Any]], list[str]]
) -> list[dict[str, Any]]:
    """A conversation with words on the parts of the user's messages, each in front of the text that follows its part.

    ``words_of`` is called with a part that has its ``language`` and ``number`` (see :meth:`Expert.context`), and gives
    what :func:`introduced` gave.
    """
    shown: Counter[str] = Counter()
    return [_add_words(message, words_of, shown) for message in messages]


def _add_words(
    message: dict[str, Any], words_of: Callable[[dict[str, Any]], list[str]], shown: Counter[str]
) -> dict[str, Any]:
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(map(_is_part, parts)):
        return message  # another's, or not a message that can be read: refused with a sentence where it is encoded
    language = "zh" if any(_CHINESE.search(part["text"]) for part in parts if part["type"] == "text") else "en"
    result: list[dict[str, Any]] = []
    words: list[str] = []
    for part in parts:
        shown[part["type"]] += 1
        words += filter(None, words_of({**part, "language": language, "number": shown[part["type"]]}))
        if part["type"] == "text" and words:
            part, words = {**part, "text": "\n".join([*words, part["text"]])}, []
        result.append(part)
    if words:
        result.append({"type": "text", "text": "\n".join(words)})
    return {**message, "content": result}


def introduced(name: str, words: str, part: dict[str, Any]) -> str:
    """What stands in the text for the words of the expert ``name`` on a part: "" where it has none."""
    words = " ".join(words.split())
    return f"[{name.format(**part)}: {words[:MAX_CONTEXT_CHARACTERS]}]" if words else ""


def _is_part(part: Any) -> bool:
    """Whether experts can read a part."""
    if not isinstance(part, dict) or "type" not in part:
        return False
    try:
        check_texts(part.get("text"))
    except ValueError:
        return False
    return part["type"] != "text" or isinstance(part.get("text"), str)


def _fingerprint(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return hashlib.sha256(part["text"].encode()).hexdigest()
    array = np.ascontiguousarray(part["array"])
    return hashlib.sha256(f"{array.shape}{array.dtype}".encode() + array.tobytes()).hexdigest()
