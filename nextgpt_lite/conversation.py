"""Messages to token ids: placeholders, signal spans, what fits the context.

Messages are those of Hugging Face chat templates: ``{"role", "content": [parts]}``, a part being
``{"type": "text", "text": ...}`` or ``{"type": "image" | "video" | "audio" | "points", ...}``. Content parts
become plain strings before the template sees them (nextgpt_lite.chat_template), so any model's own template serves.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.text_files import check_texts, join_texts
from nextgpt_lite.chat_template import ConversationError, Plain, write_prompt, write_row
from nextgpt_lite.signal_tokens import OWN, SignalTable, signal_span
from nextgpt_lite.template_rendering import CHAT_TEMPLATE as CHAT_TEMPLATE
from nextgpt_lite.template_rendering import SEPARATOR_TEMPLATE as SEPARATOR_TEMPLATE

ROLES = ("user", "assistant", "system")
#: Characters that a token stands for at most, on average: what has more is not even tokenised.
CHARACTERS_OF_TOKEN = 32


def flatten(
    messages: list[dict[str, Any]], table: SignalTable, reserved: Sequence[str] = ()
) -> tuple[Plain, list[dict[str, Any]]]:
    """Messages -> (messages with string content, media parts in the order of their placeholders).

    Neighbouring text parts are one text. Words that look like a token of the table, or like one of ``reserved``, are
    broken up: nobody can write a medium, a signal or the end of a turn by hand.

    A medium that the assistant generated becomes its signal span, and, where the medium itself is given (``array`` or
    ``embedding``), it comes in again, marked as the assistant's own, at the start of the next user turn.
    """
    plain: Plain = []
    media: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    by_hand = _written_by_hand(frozenset((*table.names, *reserved)))
    for number, message in enumerate(messages):
        role, parts = _checked(message, number, table)
        parts = _join_text_parts(parts, by_hand)
        if role == "assistant":
            available = (part for part in parts if part.get("array") is not None or part.get("embedding") is not None)
            own = [part for part in available if part["type"] in table.shown]
            content = "".join(_assistant_part(part, table) for part in parts)
        else:
            given = [part for part in parts if part["type"] != "text"]
            media += own + given
            echo = "".join(OWN + table.placeholders_of(part["type"]) for part in own)
            said = (p["text"] if p["type"] == "text" else table.placeholders_of(p["type"]) for p in parts)
            content, own = echo + "".join(said), []
        plain.append({"role": role, "content": content})
    return plain, media


def encode(
    messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, table: SignalTable, reply: bool = True
) -> tuple[list[int], list[int], list[dict[str, Any]]]:
    """Messages -> (ids, assistant mask, media parts). ``reply`` ends the ids where the assistant begins."""
    plain, media = flatten(messages, table, _reserved(tokenizer))
    if reply:
        ids = write_prompt(plain, tokenizer)
        return ids, [0] * len(ids), media
    return *write_row(plain, tokenizer), media


def fit(
    messages: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    table: SignalTable,
    limit: int,
    history: int | None = None,
) -> tuple[list[int], list[dict[str, Any]], int]:
    """As :func:`encode`, leaving out the oldest turns that do not fit ``history`` ids; says how many were left out.

    The last message alone may have ``limit`` ids; ``history`` is that too unless given. No more text is tokenised than
    a few times what fits.
    """
    plain, _ = flatten(messages, table, _reserved(tokenizer))
    if not plain or plain[-1]["role"] != "user":
        raise ConversationError("the last message must be the user's")
    room = min(limit, history or limit)
    roles = [message["role"] for message in plain]
    system = next((number for number, role in enumerate(roles) if role != "system"), 0)  # is never left out
    for each in (*plain[:system], plain[-1]):
        if len(each["content"]) > CHARACTERS_OF_TOKEN * limit:
            count = len(each["content"])
            raise ConversationError(f"a message has {count:,} characters, more than the {limit} tokens that are read")

    def prompt(start: int) -> tuple[list[int], list[dict[str, Any]]]:
        ids, _, media = encode(messages[:system] + messages[start:], tokenizer, table)
        return ids, media

    reach = _reach(plain, tokenizer, system, 2 * room)
    starts = [system, *(n for n, role in enumerate(roles) if role == "user" and n > system)]
    starts = [n for n in starts if n >= reach] or starts[-1:]
    first = bisect_left(starts[:-1], True, key=lambda start: len(prompt(start)[0]) <= room)
    ids, media = prompt(starts[first])
    if len(ids) <= limit:
        return ids, media, starts[first] - system
    own = len(encode(messages[starts[-1] :], tokenizer, table)[0])
    if own <= limit:
        count = len(ids) - own
        raise ConversationError(f"the system message has {count} tokens, which leaves no room of the {limit} to read")
    raise ConversationError(f"the last message alone has {own} tokens, more than the {limit} that the model reads")


def _reach(plain: Plain, tokenizer: PreTrainedTokenizerBase, first: int, room: int) -> int:
    """How far back words could be kept: each message is tokenised once, from the last one on, until they are too many.

    ``room`` is generous: a template may write fewer tokens than the words have as they stand.
    """
    for number in range(len(plain) - 1, first - 1, -1):
        content = plain[number]["content"]
        if len(content) > CHARACTERS_OF_TOKEN * room:
            return number + 1
        room -= len(tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"])
        if room < 0:
            return number + 1
    return first


def _checked(message: dict[str, Any], number: int, table: SignalTable) -> tuple[str, list[dict[str, Any]]]:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        role = message.get("role") if isinstance(message, dict) else message
        raise ConversationError(f"message {number + 1} has role {role!r}: expected one of {', '.join(ROLES)}")
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ConversationError(f"message {number + 1}: content must be a string or a list of parts")
    for part in parts:
        if part.get("type") not in ("text", *table.shown, *(table.counts if message["role"] == "assistant" else ())):
            allowed = ", ".join(("text", *table.shown))
            raise ConversationError(f"message {number + 1} has a part of type {part.get('type')!r}: expected {allowed}")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise ConversationError(f"message {number + 1} has a text part without a text")
        try:
            check_texts(part.get("text"))
        except ValueError as error:
            raise ConversationError(f"message {number + 1} has a {error}") from None
    return message["role"], parts


def _reserved(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The special tokens of a tokenizer."""
    return tuple(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


@lru_cache(maxsize=16)
def _written_by_hand(tokens: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))), re.IGNORECASE)


def _join_text_parts(parts: list[dict[str, Any]], by_hand: re.Pattern[str]) -> list[dict[str, Any]]:
    """Parts whose texts hold no token, a space following the first character of each; no two texts in a row."""
    joined: list[dict[str, Any]] = []
    for is_text, group in groupby(parts, key=lambda part: part["type"] == "text"):
        if is_text:
            words = join_texts([part["text"] for part in group]).strip()
            joined.append({"type": "text", "text": by_hand.sub(lambda found: f"{found[0][0]} {found[0][1:]}", words)})
        else:
            joined += group
    return joined


def _assistant_part(part: dict[str, Any], table: SignalTable) -> str:
    if part["type"] == "text":
        return part["text"]
    if part["type"] not in table.counts:
        raise ConversationError(f"the assistant cannot answer with {part['type']}")
    return "".join(signal_span(part["type"], table.counts[part["type"]]))
