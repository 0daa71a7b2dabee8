"""The questions of the suite: which dialogues, how many of each, and what their last reply must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data import toybox
from data.toybox.dialogues import Dialogue, dialogue
from data.toybox.outsiders import outsider
from evaluation.oracles import SAMPLE_RATE
from evaluation.outside_media import outside

MEDIA = ("text", "image", "audio", "video")
GENERATED = ("image", "audio", "video")
RATES = {"audio": float(SAMPLE_RATE), "video": 4.0}
FULL = 320  # --count that the sizes below belong to
SEEDS = 10_000  # evaluation streams start here; training streams end at 1,000


@dataclass(frozen=True)
class Case:
    """User turns that are put to the model, with its own replies between them, and what the last reply must hold.

    ``group`` names the figure that the case counts for; ``asked`` the media that each reply must bring.
    """

    group: str
    cell: str
    turns: tuple[list[dict], ...]
    asked: tuple[tuple[str, ...], ...]
    expected: dict
    language: str
    seed: int

    @property
    def wanted(self) -> dict[str, dict]:
        """{modality of the reply, or "text": the attributes that it must show}."""
        attributes, modalities = self.expected["attributes"], self.expected["modalities"]
        if not modalities:
            return {"text": attributes}
        each = self.expected.get("attributes_by_modality", {})
        carries = toybox.CARRIES
        return {m: each.get(m, {n: v for n, v in attributes.items() if n in carries[m]}) for m in modalities}


def content(part) -> dict:
    """One part of a dialogue's turn in the form that ``AnyToAny.chat`` takes."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.outsider is not None:
        array = outsider(part.modality, *part.outsider)
    else:
        array = toybox.render(part.scene, part.modality)
    return {"type": part.modality, "array": array, "rate": RATES.get(part.modality)}


def case(group: str, cell: str, talk: Dialogue, seed: int) -> Case:
    """A dialogue as a case: its user turns, and what each of its assistant turns brings."""
    users = tuple([content(part) for part in turn.parts] for turn in talk.turns if turn.role == "user")
    asked = tuple(
        tuple(part.modality for part in turn.parts if not isinstance(part, str))
        for turn in talk.turns
        if turn.role == "assistant"
    )
    return Case(group, cell, users, asked, talk.expected, talk.language, seed)


def cell_cases(group: str, source: str, target: str, count: int, seed: int, language: str) -> Iterator[Case]:
    """``count`` cases of one cell."""
    for index in range(count):
        talk = dialogue(seed, index, language=language, source=source, target=target)
        yield case(group, f"{source}->{target}", talk, index)


def matrix_cases(group: str, count: int, seed: int, language: str) -> Iterator[Case]:
    """``count`` cases of each of the 16 cells."""
    for row, source in enumerate(MEDIA):
        for column, target in enumerate(MEDIA):
            yield from cell_cases(group, source, target, count, mixed(seed, 4 * row + column), language)


def kind_cases(
    group: str, kind: str, count: int, seed: int, forms: Sequence[dict], keep: Callable[[Dialogue], bool] = bool
) -> Iterator[Case]:
    """``count`` cases of a kind of dialogue, going round ``forms`` (keywords of :func:`dialogue`).

    ``keep`` says which dialogues count.
    """
    index = made = 0
    while made < count:
        form = forms[made % len(forms)]
        talk = dialogue(seed, index, kind=kind, **{"language": "en", **form})
        index += 1
        if keep(talk):
            yield case(group, form.get("source") or form.get("target") or kind, talk, index)
            made += 1


def user_turns(count: int) -> Callable[[Dialogue], bool]:
    """Whether a dialogue has ``count`` user turns."""
    return lambda talk: sum(turn.role == "user" for turn in talk.turns) == count


def outside_cases(count: int, seed: int) -> Iterator[Case]:
    """Photographs and recordings, asked about as anything else is, in words of the world's own questions."""
    for index in range(count):
        modality = ("image", "audio")[index % 2]
        array, rate = outside(modality, seed, index // 2)
        asked = dialogue(seed, index, kind="describe", source=modality, language="en").turns[0].parts
        words = [content(part) for part in asked if isinstance(part, str)]
        medium = {"type": modality, "array": array, "rate": rate}
        expected = {"modalities": [], "attributes": {}, "unknown": True}
        yield Case("unknown", f"gradio_{modality}", ([medium, *words],), ((),), expected, "en", index)


def mixed(seed: int, stream: int) -> int:
    """A seed for one stream of one run, disjoint from those of training."""
    return SEEDS + int(np.random.SeedSequence((seed, stream)).generate_state(1)[0] % 2**30)


EDITED = [{"source": "text", "target": target} for target in ("image", "video", "image", "audio")]
BOTH = [{"language": "en"}, {"language": "zh"}]
MADE_UP = [
    {"source": source, "language": language}
    for language in ("en", "zh")
    for source in ("image", "audio", "video", "image", "audio", "points")
]
#: Kinds of dialogue that have a figure each, beside those of the table.
OTHER_KINDS = ("ask", "count", "compare", "combine", "multi", "own", "talk")


def plan(count: int, seed: int) -> list[Case]:
    """All cases of a run; ``count`` 320 is the full suite: 20 cases a cell and the rest in proportion."""

    def scaled(full: int) -> int:
        return max(1, round(full * count / FULL))

    def names_motion(talk: Dialogue) -> bool:
        return "motion" in talk.expected["attributes"]

    streams = [mixed(seed, 40 + number) for number in range(20)]
    held_out = [{"target": "image", "pairs": "held_out"}]
    cases = [
        *matrix_cases("matrix", scaled(20), seed, "en"),
        *matrix_cases("chinese", scaled(6), seed + 1_000_003, "zh"),
        *cell_cases("points", "points", "text", scaled(40), streams[0], "en"),
        *kind_cases("held_out_pairs", "generate", scaled(40), streams[1], held_out),
        *kind_cases("motion", "generate", scaled(30), streams[2], [{"target": "video"}], names_motion),
        *kind_cases("edits", "edit", scaled(40), streams[3], EDITED, user_turns(2)),
        *kind_cases("long_edits", "edit", scaled(12), streams[4], EDITED[:1], user_turns(3)),
        *kind_cases("recalls", "recall", scaled(20), streams[5], BOTH),
        *kind_cases("unknown", "decline", scaled(20), streams[6], MADE_UP),
        *outside_cases(scaled(20), streams[7]),
        *kind_cases("unknown_words", "decline", scaled(12), streams[8], [{"source": "text", **form} for form in BOTH]),
        *kind_cases("chain", "chain", scaled(16), streams[9], BOTH),
    ]
    for number, kind in enumerate(OTHER_KINDS):
        cases += kind_cases(kind, kind, scaled(16), streams[10 + number], BOTH)
    return cases
