"""The suite's cases: which dialogues, how many of each, and what their last reply must hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data import toybox
from data.modalities import MODALITIES
from evaluation import SUITES
from evaluation.toybox.out_of_distribution import sample_medium

GROUPS = Path(__file__).with_name("groups.yaml")
MEDIA = ("text", "image", "audio", "video")
GENERATED = ("image", "audio", "video")
FULL_COUNT = SUITES["any_to_any"].full_count  # --count that the sizes below and in groups.yaml belong to
FIRST_SEED = 10_000  # evaluation streams start here; training streams end at 1,000


@dataclass(frozen=True)
class Case:
    """User turns that are put to the model, with its own replies between them, and what the last reply must hold.

    ``group`` names the metric that the case counts for; ``requested`` the media that each reply must bring.
    """

    group: str
    cell: str
    turns: tuple[list[dict[str, Any]], ...]
    requested: tuple[tuple[str, ...], ...]
    expected: dict[str, Any]
    language: str
    seed: int

    @property
    def expected_by_modality(self) -> dict[str, dict[str, Any]]:
        """{modality of the reply, or "text": the attributes that it must show}."""
        attributes, modalities = self.expected["attributes"], self.expected["modalities"]
        if not modalities:
            return {"text": attributes}
        each = self.expected.get("attributes_by_modality", {})
        carries = toybox.CARRIES
        return {m: each.get(m, {n: v for n, v in attributes.items() if n in carries[m]}) for m in modalities}


def content(part: str | toybox.MediaPart) -> dict[str, Any]:
    """One part of a dialogue's turn in the form that ``AnyToAny.chat`` takes."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": part.modality, "array": toybox.render_medium(part), "rate": MODALITIES[part.modality].rate}


def case(group: str, cell: str, dialogue: toybox.Dialogue, seed: int) -> Case:
    """A dialogue as a case: its user turns, and what each of its assistant turns brings."""
    users = tuple([content(part) for part in turn.parts] for turn in dialogue.turns if turn.role == "user")
    requested = tuple(
        tuple(part.modality for part in turn.parts if not isinstance(part, str))
        for turn in dialogue.turns
        if turn.role == "assistant"
    )
    return Case(group, cell, users, requested, dialogue.expected, dialogue.language, seed)


def cell_cases(group: str, source: str, target: str, count: int, seed: int, language: str) -> Iterator[Case]:
    """``count`` cases of one cell."""
    for index in range(count):
        dialogue = toybox.dialogue(seed, index, language=language, source=source, target=target)
        yield case(group, f"{source}->{target}", dialogue, index)


def matrix_cases(group: str, count: int, seed: int, language: str) -> Iterator[Case]:
    """``count`` cases of each of the 16 cells."""
    for row, source in enumerate(MEDIA):
        for column, target in enumerate(MEDIA):
            yield from cell_cases(group, source, target, count, stream_seed(seed, 4 * row + column), language)


@dataclass(frozen=True)
class Group:
    """An entry of groups.yaml."""

    name: str
    kind: str
    count: int
    forms: Sequence[dict[str, str]] = ({"language": "en"}, {"language": "zh"})
    user_turns: int | None = None
    names: str | None = None

    def counts(self, dialogue: toybox.Dialogue) -> bool:
        """Whether a dialogue has the turns and names the attribute that this group is about."""
        turns = sum(turn.role == "user" for turn in dialogue.turns)
        return self.user_turns in (None, turns) and (not self.names or self.names in dialogue.expected["attributes"])

    def cases(self, count: int, seed: int) -> Iterator[Case]:
        """``count`` cases, going round the forms."""
        index = made = 0
        while made < count:
            form = self.forms[made % len(self.forms)]
            dialogue = toybox.dialogue(seed, index, kind=self.kind, **{"language": "en", **form})
            index += 1
            if self.counts(dialogue):
                yield case(self.name, form.get("source") or form.get("target") or self.kind, dialogue, index)
                made += 1


def out_of_distribution_cases(count: int, seed: int) -> Iterator[Case]:
    """Photographs and recordings, with the same questions that are asked about Toybox's media."""
    for index in range(count):
        modality = ("image", "audio")[index % 2]
        array, rate = sample_medium(modality, seed, index // 2)
        asked = toybox.dialogue(seed, index, kind="describe", source=modality, language="en").turns[0].parts
        words = [content(part) for part in asked if isinstance(part, str)]
        medium = {"type": modality, "array": array, "rate": rate}
        expected = {"modalities": [], "attributes": {}, "unknown": True}
        yield Case("unknown", f"gradio_{modality}", ([medium, *words],), ((),), expected, "en", index)


def stream_seed(seed: int, stream: int) -> int:
    """A seed for one stream of one run, disjoint from those of training."""
    return FIRST_SEED + int(np.random.SeedSequence((seed, stream)).generate_state(1)[0] % 2**30)


def plan(count: int, seed: int) -> list[Case]:
    """All cases of a run; ``count`` 320 is the full suite: 20 cases a cell and the rest in proportion."""

    def scaled(full: int) -> int:
        return max(1, round(full * count / FULL_COUNT))

    groups = [Group(**entry) for entry in yaml.safe_load(GROUPS.read_text(encoding="utf-8"))]
    cases = [
        *matrix_cases("matrix", scaled(20), seed, "en"),
        *matrix_cases("chinese", scaled(6), seed + 1_000_003, "zh"),
        *cell_cases("points", "points", "text", scaled(40), stream_seed(seed, 40), "en"),
    ]
    for stream, group in enumerate(groups, start=41):
        make = out_of_distribution_cases if group.kind == "out_of_distribution" else group.cases
        cases += make(scaled(group.count), stream_seed(seed, stream))
    return cases
