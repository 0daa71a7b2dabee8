"""The stream of dialogues: every kind with its share, each dialogue fixed by its seed and number."""

from collections.abc import Callable, Sequence

import numpy as np

from data.things.dialogues.asking import ask, compare, count_media, earlier, listen, own, unsure, where
from data.things.dialogues.followups import again, correct, edit, edit_other, more, redraw, remember, together
from data.things.dialogues.parts import Dialogue
from data.things.dialogues.photographs import photograph
from data.things.dialogues.requests import both, but_no, instead, request
from data.things.dialogues.speaker import Speaker
from data.things.dialogues.talking import mention, outside, spoken, talk, thank
from data.things.dialogues.wording import LANGUAGES

#: Share of English; the rest is Chinese.
ENGLISH = 0.75
WORDINGS = ("train", "held_out")


def chain(speaker: Speaker) -> Dialogue:
    """Two or three short dialogues in a row: what went before must not confuse the next."""
    kinds = (request, ask, mention, talk, outside, where, thank, more)
    *_, last = (speaker.pick(kinds)(speaker) for _ in range(speaker.pick((2, 2, 3))))
    return Dialogue(last.turns, "chain", last.language, last.expected)


#: kind -> how it is made, and its weight.
_KINDS: dict[str, tuple[Callable[[Speaker], Dialogue], float]] = {
    "request": (request, 0.24),
    "instead": (instead, 0.02),
    "but_no": (but_no, 0.02),
    "spoken": (spoken, 0.04),
    "both": (both, 0.04),
    "edit": (edit, 0.1),
    "edit_other": (edit_other, 0.05),
    "correct": (correct, 0.03),
    "together": (together, 0.02),
    "again": (again, 0.03),
    "more": (more, 0.02),
    "redraw": (redraw, 0.02),
    "ask": (ask, 0.12),
    "where": (where, 0.05),
    "own": (own, 0.03),
    "earlier": (earlier, 0.02),
    "remember": (remember, 0.03),
    "compare": (compare, 0.04),
    "count_media": (count_media, 0.02),
    "listen": (listen, 0.1),
    "photograph": (photograph, 0.06),
    "unsure": (unsure, 0.01),
    "outside": (outside, 0.04),
    "mention": (mention, 0.06),
    "talk": (talk, 0.08),
    "thank": (thank, 0.03),
    "chain": (chain, 0.04),
}
#: Every kind with its share of the stream.
KINDS = {kind: weight for kind, (_, weight) in _KINDS.items()}


def dialogue(
    seed: int,
    index: int,
    kind: str = "",
    language: str = "",
    wording: str = "train",
    things: str = "train",
    pairs: str = "train",
    classes: Sequence[str] = (),
) -> Dialogue:
    """Dialogue number ``index`` of the stream ``seed``; the same arguments always give the same one.

    ``kind`` and ``language`` choose one, "" draws it. ``wording`` is "train" or "held_out", wordings and names that
    training never uses; ``things`` and ``pairs`` are those of :func:`data.things.sample`. ``classes`` are the names of
    an ImageNet classifier's classes in its order; without them there are no photographs. ValueError for others.
    """
    known = {"kind": ("", *_KINDS), "language": ("", *LANGUAGES), "wording": WORDINGS}
    for name, value in (("kind", kind), ("language", language), ("wording", wording)):
        if value not in known[name]:
            raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(filter(None, known[name]))}")
    if kind == "photograph" and not classes:
        raise ValueError("dialogues of kind photograph need classes")
    rng = np.random.default_rng((seed, index, 0xD1A2))
    drawn = "en" if rng.random() < ENGLISH else "zh"
    names = [name for name in _KINDS if name != "photograph" or classes]
    weights = np.array([KINDS[name] for name in names])
    chosen = kind or names[int(rng.choice(len(names), p=weights / weights.sum()))]
    speaker = Speaker(language or drawn, rng, wording == "held_out", things, pairs, classes)
    return _KINDS[chosen][0](speaker)
