"""Dialogues in other forms: in words alone, with media that do not match their words, as texts for a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from data.toybox.dialogues.speaker import Dialogue, MediaPart, Turn
from data.toybox.dialogues.stream import dialogue
from data.toybox.language.grammar import phrase
from data.toybox.world import random_scene, visible


def text_only(conversation: Dialogue, rng: np.random.Generator) -> list[tuple[str, tuple[str | MediaPart, ...]]]:
    """(role, parts) for training on text alone: what a user shows becomes "[image: a small red bell, in the snow]".

    The assistant's media stay as they are. Where a question is about a medium that the assistant made ("own"), the
    user's turn is given its description.
    """
    turns, made = [], []
    for turn in conversation.turns:
        parts = turn.parts
        if turn.role == "user":
            parts = (*made, *parts)
            parts = (" ".join(_bracketed(part, conversation.language, rng) for part in parts),)
        made = [part for part in parts if isinstance(part, MediaPart)] if conversation.kind == "own" else []
        turns.append((turn.role, parts))
    return turns


def mismatched_media(conversation: Dialogue, share: float, rng: np.random.Generator) -> Dialogue:
    """An edit in which a ``share`` of the assistant's media show another scene than its words say: decoders err.

    What a change is made to was said, so the next reply can go by the words. Other kinds come back as they are: there
    a medium may be all that there is to go by.
    """
    if conversation.kind != "edit" or not share:
        return conversation

    def shown(turn: Turn, part: str | MediaPart) -> str | MediaPart:
        if isinstance(part, str) or turn.role != "assistant" or rng.random() >= share:
            return part
        return replace(part, scene=random_scene(rng))

    turns = tuple(replace(turn, parts=tuple(shown(turn, part) for part in turn.parts)) for turn in conversation.turns)
    return replace(conversation, turns=turns)


def _bracketed(part: str | MediaPart, language: str, rng: np.random.Generator) -> str:
    if isinstance(part, str):
        return part
    if part.scene is None:
        return f"[{part.modality}: {'unknown' if language == 'en' else '未知'}]"
    attributes = visible(part.scene, part.modality)
    return f"[{part.modality}: {phrase(attributes, part.modality, language, rng if rng.random() < 0.3 else None)}]"


def vocabulary_corpus(count: int, seed: int = 0) -> Iterator[str]:
    """``count`` dialogues as plain text, to train a tokenizer on: all words, brackets and tag captions."""
    rng = np.random.default_rng((seed, 0x70CA))
    for index in range(count):
        for _, parts in text_only(dialogue(seed, index), rng):
            yield " ".join(part if isinstance(part, str) else part.caption for part in parts)
