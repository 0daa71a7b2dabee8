"""Toybox dialogues: a deterministic stream of conversations about things that can be seen, heard, drawn and played.

Users speak in paraphrases, the assistant nearly always in one form. A turn of the assistant that makes a medium first
says in words what the medium's caption states, so the signal tokens that follow only have to carry that sentence on.

Dialogues also come in words alone, with media that do not match their words, and as texts for a tokenizer.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from data.toybox.dialogues.convert import combine, convert, edit, follow
from data.toybox.dialogues.generate import generate, multi
from data.toybox.dialogues.perceive import ask, cannot_tell, compare, count, describe, own, recall
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker, Turn
from data.toybox.dialogues.words_only import decline, talk, text_to_text
from data.toybox.language.grammar import LANGUAGES, phrase
from data.toybox.world import random_scene, visible

MODES = ("text", "image", "video", "audio", "points")

_MADE = frozenset({"image", "video", "audio"})
_SHOWN = _MADE | {"points"}
_ANY = _SHOWN | {"text"}
_TEXT = frozenset({"text"})


def chain(speaker: Speaker) -> Dialogue:
    """Two to five short dialogues in a row, each about something new: what went before must not confuse it."""
    kinds = (describe, ask, generate, convert, talk, text_to_text, decline, edit)
    *_, last = (speaker.pick(kinds)(speaker) for _ in range(speaker.pick((2, 3, 4, 5))))
    return Dialogue(last.turns, "chain", last.language, last.expected)


#: kind -> (how it is made, sampling weight, what may come in, what may go out)
_KINDS = {
    "describe": (describe, 0.12, _SHOWN, _TEXT),
    "ask": (ask, 0.12, _SHOWN, _TEXT),
    "generate": (generate, 0.15, _TEXT, _MADE),
    "text_to_text": (text_to_text, 0.08, _TEXT, _TEXT),
    "convert": (convert, 0.15, _SHOWN, _MADE),
    "edit": (edit, 0.10, _TEXT | _MADE, _MADE),
    "compare": (compare, 0.03, _MADE, _TEXT),
    "cannot_tell": (cannot_tell, 0.02, _SHOWN, _TEXT),
    "count": (count, 0.03, frozenset({"image"}), _TEXT),
    "combine": (combine, 0.02, frozenset({"image", "audio"}), frozenset({"image"})),
    "follow": (follow, 0.06, _ANY, _ANY - {"points"}),
    "recall": (recall, 0.06, _MADE, frozenset({"text", "image", "audio"})),
    "multi": (multi, 0.04, _ANY, _MADE),
    "decline": (decline, 0.07, _ANY, _TEXT),
    "talk": (talk, 0.02, _TEXT, _TEXT),
    "own": (own, 0.03, _TEXT, _MADE),
    "chain": (chain, 0.05, frozenset(), frozenset()),
}
#: Every kind with its share of the stream.
KINDS = tuple((kind, weight) for kind, (_, weight, _, _) in _KINDS.items())

#: A wish for a source or a target is met by these kinds unless one is named: they fill the any-to-any matrix.
_CELLS = ("describe", "generate", "text_to_text", "convert")


def dialogue(
    seed: int,
    index: int,
    kind: str | None = None,
    language: str | None = None,
    pairs: str = "train",
    source: str | None = None,
    target: str | None = None,
) -> Dialogue:
    """Dialogue number ``index`` of the stream ``seed``; the same arguments always give the same one.

    ``source`` and ``target`` ("text", "image", "video", "audio"; source also "points") restrict what comes in and what
    is asked for. ``pairs`` is that of :func:`data.toybox.world.sample`. ValueError names what does not fit.
    """
    rng = np.random.default_rng((seed, index, 0xD1A1))
    kind = _kind(rng, kind, source, target)
    drawn = "en" if rng.random() < 0.7 else "zh"
    if language not in (None, *LANGUAGES):
        raise ValueError(f"unknown language {language!r}: expected one of {', '.join(LANGUAGES)}")
    return _KINDS[kind][0](Speaker(rng, language or drawn, pairs, source, target))


def _kind(rng: np.random.Generator, kind: str | None, source: str | None, target: str | None) -> str:
    for name, mode in (("source", source), ("target", target)):
        if mode is not None and mode not in MODES:
            raise ValueError(f"unknown {name} {mode!r}: expected one of {', '.join(MODES)}")
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"unknown kind {kind!r}: expected one of {', '.join(_KINDS)}")
    wished = source is not None or target is not None
    names = [kind] if kind else list(_CELLS if wished else _KINDS)
    names = [name for name in names if _fits(name, source, target)]
    if not names:
        raise ValueError(f"no dialogue of kind {kind or 'any'} goes from {source or 'any'} to {target or 'any'}")
    weights = np.array([_KINDS[name][1] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _fits(kind: str, source: str | None, target: str | None) -> bool:
    _, _, sources, targets = _KINDS[kind]
    return source in {None, *sources} and target in {None, *targets}


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
