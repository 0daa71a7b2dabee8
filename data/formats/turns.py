"""Turns of published conversations as messages: who speaks, and media at the place of their placeholders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from data.formats import BadRecord
from data.formats.sources import shown
from data.manifest import Record

#: What published conversations call the speakers.
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant",
    "bing": "assistant", "assistant": "assistant", "system": "system",
}  # fmt: skip
#: A place for a medium: ``<image>``, or with a caption of its own ``<Image>a dolphin</Image>``.
PLACEHOLDER = re.compile(r"<(image|video|audio)>(?:([^<]*)</\1>)?", re.IGNORECASE)
Part = dict[str, Any]


class MediaQueue:
    """Media of one record that wait for their placeholders, by modality and in order."""

    def __init__(self, **media: Sequence[Part]) -> None:
        self.waiting = {modality: list(parts) for modality, parts in media.items()}

    def take(self, modality: str, caption: str | None = None) -> Part:
        """The next medium of a modality; where the text brings a ``caption``, with that one."""
        if not self.waiting.get(modality):
            raise BadRecord(f"a placeholder <{modality}> without a medium")
        part = self.waiting[modality].pop(0)
        return {**part, "caption": caption.strip()} if caption and caption.strip() else part

    def check_empty(self) -> None:
        """BadRecord where a medium has found no place."""
        for modality, parts in self.waiting.items():
            if parts:
                name = parts[0].get("path") or parts[0].get("caption")
                raise BadRecord(f"{modality} {name!r} has no placeholder <{modality}> in the text")


def medium(modality: str, path: Any, caption: str | None = None) -> Part:
    """The part of a medium file. BadRecord for a name that is no text."""
    if not isinstance(path, str) or not path.strip():
        raise BadRecord(f"the name of {modality} must be text, not {shown(path)}")
    part = {"type": modality, "path": path.strip()}
    return part if caption is None else {**part, "caption": caption}


def parts_of(text: str, media: MediaQueue, *, placeholders: bool = True) -> list[Part]:
    """A text with placeholders as parts: words and media in their order, empty words left out."""
    parts, at = [], 0
    for found in PLACEHOLDER.finditer(text) if placeholders else ():
        parts += _words(text[at : found.start()])
        parts.append(media.take(found[1].lower(), found[2]))
        at = found.end()
    return parts + _words(text[at:])


def turns_of(entry: dict[str, Any], key: str = "conversations") -> list[dict[str, Any]]:
    """The turns ``[{"from", "value"}]`` of an entry, each with its ``role``.

    A reply before the first question, which answers nothing, is left out. BadRecord for unknown speakers, for turns
    without a text, and for two turns of one speaker in a row.
    """
    turns = entry.get(key)
    if not isinstance(turns, list) or not turns:
        raise BadRecord(f'expected a list "{key}" of turns, not {shown(turns)}')
    told = [_turn(turn) for turn in turns]
    first = 1 if told[0]["role"] == "system" else 0
    if len(told) > first and told[first]["role"] == "assistant":
        del told[first]
    for before, after in pairwise(told):
        if before["role"] == after["role"]:
            raise BadRecord(f"two turns of {after['from']!r} in a row")
        if after["role"] == "system":
            raise BadRecord("a turn of 'system' that is not the first")
    return told


def conversation(
    turns: list[dict[str, Any]], media: MediaQueue, meta: dict[str, Any], *, placeholders: bool = True
) -> Record:
    """Turns and their media as a record. BadRecord where placeholders and media do not match."""
    messages = []
    for turn in turns:
        there = placeholders and turn["role"] != "system"
        messages.append({"role": turn["role"], "content": parts_of(turn["value"], media, placeholders=there)})
    media.check_empty()
    return {"messages": messages, "meta": {name: value for name, value in meta.items() if value is not None}}


def _turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
        raise BadRecord(f'a turn needs "from" and a text "value", not {shown(turn)}')
    speaker = turn.get("from")
    if not isinstance(speaker, str) or speaker.lower() not in SPEAKERS:
        raise BadRecord(f"unknown role {speaker!r}; known are {', '.join(SPEAKERS)}")
    return {**turn, "role": SPEAKERS[speaker.lower()]}


def _words(text: str) -> list[Part]:
    return [{"type": "text", "text": text.strip()}] if text.strip() else []
