"""Messages to token ids: chat template, placeholders, signal spans, label masks.

Messages are those of Hugging Face chat templates: ``{"role", "content": [parts]}``, a part being
``{"type": "text", "text": ...}`` or ``{"type": "image" | "video" | "audio" | "points", ...}``. Content parts
become plain strings before the template sees them, so any model's own template serves.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from nextgpt_lite.signal_tokens import OWN, SignalTable, signal_span


def _template(name: str) -> str:
    """A chat template without the line breaks of its file."""
    path = Path(__file__).parent / "chat_templates" / f"{name}.jinja"
    return "".join(path.read_text(encoding="utf-8").splitlines())


#: Template of the embedded model. ``generation`` marks what the loss sees; user messages are read in lower case: else
#: CAPITALS would be new words to a small model.
CHAT_TEMPLATE = _template("nano")
#: Turns set apart by ``###``, as in LLaMA-Adapter V2's chat model: for a base model that has no template of its own.
SEPARATOR_TEMPLATE = _template("separator")
ROLES = ("user", "assistant", "system")
#: The tag by which a chat template says what the assistant generates.
MARKS_REPLIES = re.compile(r"\{%-?\s*generation\b")


class ConversationError(ValueError):
    """Messages that cannot be understood, with a sentence that says why."""


def flatten(
    messages: list[dict[str, Any]], table: SignalTable, reserved: Sequence[str] = ()
) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Messages -> (messages with string content, media parts in the order of their placeholders).

    Words that look like a token of the table, or like one of ``reserved``, are broken up: nobody can write a
    medium, a signal or the end of a turn by hand.

    A medium that the assistant generated becomes its signal span, and, where the medium itself is given (``array`` or
    ``embedding``), it comes in again, marked as the assistant's own, at the start of the next user turn.
    """
    plain: list[dict[str, str]] = []
    media: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    tokens = sorted({*table.names, *reserved}, key=len, reverse=True)
    by_hand = re.compile("|".join(map(re.escape, tokens)), re.IGNORECASE)
    for number, message in enumerate(messages):
        role, parts = _checked(message, number, table)
        parts = [_escape_special_tokens(part, by_hand) for part in parts]
        if role == "assistant":
            available = (part for part in parts if part.get("array") is not None or part.get("embedding") is not None)
            own = [part for part in available if part["type"] in table.inputs]
            content = "".join(_assistant_part(part, table) for part in parts)
        else:
            given = [part for part in parts if part["type"] != "text"]
            media += own + given
            echo = "".join(OWN + table.placeholders_of(part["type"]) for part in own)
            said = (p["text"].strip() if p["type"] == "text" else table.placeholders_of(p["type"]) for p in parts)
            content, own = echo + "".join(said), []
        plain.append({"role": role, "content": content})
    return plain, media


def encode(
    messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, table: SignalTable, reply: bool = True
) -> tuple[list[int], list[int], list[dict[str, Any]]]:
    """Messages -> (ids, assistant mask, media parts). ``reply`` ends the ids where the assistant begins."""
    reserved = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    plain, media = flatten(messages, table, reserved)
    if reply or not MARKS_REPLIES.search(str(tokenizer.chat_template or "")):
        ids = _ids(plain, tokenizer, reply)
        return ids, [0] * len(ids) if reply else _assistant_mask(plain, ids, tokenizer), media
    encoded: Any = tokenizer.apply_chat_template(plain, return_dict=True, return_assistant_tokens_mask=True)
    return encoded["input_ids"], encoded["assistant_masks"], media


def fit(
    messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, table: SignalTable, limit: int
) -> tuple[list[int], list[dict[str, Any]], int]:
    """As :func:`encode`, leaving out the oldest turns that do not fit ``limit`` ids; says how many were left out."""
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    kept = messages[:1] if roles[:1] == ["system"] else []  # what the system says is never left out
    starts = [number for number, role in enumerate(roles) if role == "user" and number > len(kept)]
    for start in (len(kept), *starts):
        ids, _, media = encode(kept + messages[start:], tokenizer, table)
        if len(ids) <= limit:
            return ids, media, start - len(kept)
    raise ConversationError(f"the last message alone has {len(ids)} tokens, more than the {limit} that the model reads")


def _checked(message: dict[str, Any], number: int, table: SignalTable) -> tuple[str, list[dict[str, Any]]]:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        role = message.get("role") if isinstance(message, dict) else message
        raise ConversationError(f"message {number + 1} has role {role!r}: expected one of {', '.join(ROLES)}")
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ConversationError(f"message {number + 1}: content must be a string or a list of parts")
    for part in parts:
        if part.get("type") not in ("text", *table.inputs, *(table.counts if message["role"] == "assistant" else ())):
            allowed = ", ".join(("text", *table.inputs))
            raise ConversationError(f"message {number + 1} has a part of type {part.get('type')!r}: expected {allowed}")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise ConversationError(f"message {number + 1} has a text part without a text")
    return message["role"], parts


def _escape_special_tokens(part: dict[str, Any], by_hand: re.Pattern[str]) -> dict[str, Any]:
    """A part whose text holds no token: a space follows the first character of each."""
    if part["type"] != "text":
        return part
    return {**part, "text": by_hand.sub(lambda found: f"{found[0][0]} {found[0][1:]}", part["text"])}


def _ids(plain: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, reply: bool) -> list[int]:
    encoded: Any = tokenizer.apply_chat_template(plain, add_generation_prompt=reply, return_dict=True)
    return encoded["input_ids"]


def _assistant_mask(plain: list[dict[str, str]], ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Assistant mask of ``ids`` where the template does not mark generation: from the end of each reply's prompt
    to its end token."""
    mask = [0] * len(ids)
    for number, message in enumerate(plain):
        if message["role"] != "assistant":
            continue
        prompt, whole = _ids(plain[:number], tokenizer, True), _ids(plain[: number + 1], tokenizer, False)
        if ids[: len(prompt)] != prompt or ids[: len(whole)] != whole:
            raise ConversationError("this chat template changes earlier turns: mark the replies by {% generation %}")
        end = next((i for i in range(len(prompt), len(whole)) if ids[i] == tokenizer.eos_token_id), len(whole) - 1)
        mask[len(prompt) : end + 1] = [1] * (end + 1 - len(prompt))
    return mask


def _assistant_part(part: dict[str, Any], table: SignalTable) -> str:
    if part["type"] == "text":
        return part["text"].strip()
    if part["type"] not in table.counts:
        raise ConversationError(f"the assistant cannot answer with {part['type']}")
    return "".join(signal_span(part["type"], table.counts[part["type"]]))
