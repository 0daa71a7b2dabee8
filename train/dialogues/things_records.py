"""Dialogues about the world of things as conversations."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from data.modalities import MODALITIES
from data.things.dialogues import Dialogue, MediaPart, Turn, dialogue
from data.things.dialogues.rendering import can_be_rendered
from nextgpt_lite.experts import add_words
from train.dialogues.described import described as words_of
from train.dialogues.records import MAX_SKIPPED, THINGS, Conversation
from train.settings import RecipeError


def things_conversations(
    seed: int,
    count: int,
    kinds: Sequence[str] = (),
    modalities: Sequence[str] = tuple(MODALITIES),
    classes: Sequence[str] = (),
    described: bool = False,
    chinese: float | None = None,
    label: str = THINGS,
) -> Iterator[Conversation]:
    """Dialogues of the stream ``seed``; ``kinds`` are taken in turn, none = all, by their own weights.

    Those that show a medium of none of ``modalities``, or one whose data is not there, are left out. RecipeError where
    hardly any is left. ``classes`` are those of an image classifier, see :func:`data.things.dialogues.dialogue`.
    ``described``: what media show is written before the text, as the model's own experts do. ``chinese`` is the
    share of Chinese ones; None = the stream's own. ``label`` is the name of their source.
    """
    read = {modality for modality in modalities if can_be_rendered(modality)}
    found = 0
    for index in itertools.count():
        if found == count:
            return
        kind = kinds[found % len(kinds)] if kinds else ""
        language = "" if chinese is None else "zh" if int((index + 1) * chinese) > int(index * chinese) else "en"
        drawn = dialogue(seed, index, kind=kind, language=language, classes=classes)
        shown = {part.modality for turn in drawn.turns if turn.role == "user" for part in turn.media}
        if shown <= read:
            found += 1
            messages = messages_of(drawn, read)
            if described:
                messages = add_words(messages, words_of)
            yield Conversation(messages, drawn.kind, f"{label} {seed}, dialogue {index}", label)
        elif index > MAX_SKIPPED * (count + 1):
            known = ", ".join(sorted(read)) or "none"
            raise RecipeError(f"too few dialogues of kind {kind or 'any'} have media that the encoder reads: {known}")


def messages_of(drawn: Dialogue, read: set[str]) -> list[dict[str, Any]]:
    """A dialogue as messages whose media parts carry their MediaPart (``part``) in place of an array.

    What the assistant made comes in again in the next turn where its modality is among those that are ``read``.
    """
    return [{"role": turn.role, "content": [_content(part, turn, read) for part in turn.parts]} for turn in drawn.turns]


def _content(part: str | MediaPart, turn: Turn, read: set[str]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    seen = turn.role == "user" or part.modality in read
    return {"type": part.modality, "part": part, "embedding": part if seen else None}
