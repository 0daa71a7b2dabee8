"""Published conversations and instructions.

    LLaVA (2304.08485)       {"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}
    ShareGPT                 the same, text alone
    Alpaca                   {"instruction", "input", "output"}, the input following the instruction
    LongAlpaca (2309.12307)  the same and "file"; the instruction holds the whole book

``<image>`` in a text of LLaVA stands for the record's image, or for the next of a list of them; in a record without
media it is words. Datasets of the same kind with ``video`` or ``audio`` are read as well.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from data.formats.sources import json_reader, text_of
from data.manifest import BadRecord, Record, shown

#: The media of published conversations.
MEDIA = ("image", "video", "audio")
#: What published conversations call the speakers.
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant",
    "bing": "assistant", "assistant": "assistant", "system": "system",
}  # fmt: skip
#: Where a medium stands: ``<image>``, or with a caption of its own ``<Image>a dolphin</Image>``.
PLACEHOLDER = re.compile(r"<(image|video|audio)>(?:([^<]*)</\1>)?", re.IGNORECASE)
Part = dict[str, Any]


@json_reader
def llava_records(entry: dict[str, Any]) -> Record:
    """One record a conversation; ``meta`` holds its ``id``."""
    media = {name: [medium(name, path) for path in _as_list(entry.get(name))] for name in MEDIA}
    return conversation(entry, turns_of(entry), media)


@json_reader
def sharegpt_records(entry: dict[str, Any]) -> Record:
    """One record a conversation; what looks like a placeholder in it is text like any other."""
    return conversation(entry, turns_of(entry), None)


@json_reader
def alpaca_records(entry: dict[str, Any]) -> Record:
    """One question and one reply a record; ``meta`` holds the ``file`` that the question is about, if there is one."""
    given = text_of(entry, "input", empty=True)
    question = text_of(entry, "instruction") + (f"\n\n{given}" if given else "")
    messages = [
        {"role": "user", "content": _text(question)},
        {"role": "assistant", "content": _text(text_of(entry, "output"))},
    ]
    return {"messages": messages, "meta": {"file": entry["file"]} if entry.get("file") else {}}


def medium(modality: str, path: Any, caption: str | None = None) -> Part:
    """The part of a media file. BadRecord for a name that is no text."""
    if not isinstance(path, str) or not path.strip():
        raise BadRecord(f"the name of {modality} must be text, not {shown(path)}")
    part = {"type": modality, "path": path.strip()}
    return part if caption is None else {**part, "caption": caption}


def turns_of(entry: dict[str, Any], key: str = "conversations") -> list[dict[str, Any]]:
    """The turns ``[{"from", "value"}]`` of an entry, each with its ``role``.

    A reply before the first question, which answers nothing, is dropped. BadRecord for unknown speakers, for turns
    without a text, and for two consecutive turns of one speaker.
    """
    listed = entry.get(key)
    if not isinstance(listed, list) or not listed:
        raise BadRecord(f'expected a list "{key}" of turns, not {shown(listed)}')
    turns = [_turn(turn) for turn in listed]
    first = 1 if turns[0]["role"] == "system" else 0
    if len(turns) > first and turns[first]["role"] == "assistant":
        del turns[first]
    for before, after in pairwise(turns):
        if before["role"] == after["role"]:
            raise BadRecord(f"two turns of {after['from']!r} in a row")
        if after["role"] == "system":
            raise BadRecord("a turn of 'system' that is not the first")
    return turns


def conversation(
    entry: dict[str, Any], turns: list[dict[str, Any]], media: Mapping[str, Sequence[Part]] | None
) -> Record:
    """Turns as a record, ``media`` by modality in the order of their placeholders.

    In a record without media, what looks like a placeholder is words. BadRecord where placeholders and media do not
    match.
    """
    waiting = {modality: list(parts) for modality, parts in (media or {}).items()}
    words_alone = not any(waiting.values())
    messages = []
    for turn in turns:
        plain = words_alone or turn["role"] == "system"
        content = _text(turn["value"]) if plain else _with_media(turn["value"], waiting)
        messages.append({"role": turn["role"], "content": content})
    for modality, parts in waiting.items():
        if parts:
            name = parts[0].get("path") or parts[0].get("caption")
            raise BadRecord(f"{modality} {name!r} has no placeholder <{modality}> in the text")
    return {"messages": messages, "meta": {} if entry.get("id") is None else {"id": entry["id"]}}


def _with_media(text: str, waiting: dict[str, list[Part]]) -> list[Part]:
    """A text with placeholders as parts, in order; each placeholder takes the next of the media that wait."""
    parts, at = [], 0
    for found in PLACEHOLDER.finditer(text):
        modality, caption = found[1].lower(), (found[2] or "").strip()
        if not waiting.get(modality):
            raise BadRecord(f"a placeholder <{modality}> without a medium")
        part = waiting[modality].pop(0)
        parts += [*_text(text[at : found.start()]), {**part, "caption": caption} if caption else part]
        at = found.end()
    return parts + _text(text[at:])


def _turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
        raise BadRecord(f'a turn needs "from" and a text "value", not {shown(turn)}')
    speaker = turn.get("from")
    if not isinstance(speaker, str) or speaker.lower() not in SPEAKERS:
        raise BadRecord(f"unknown role {speaker!r}; known are {', '.join(SPEAKERS)}")
    return {**turn, "role": SPEAKERS[speaker.lower()]}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(text: str) -> list[Part]:
    return [{"type": "text", "text": text.strip()}] if text.strip() else []
