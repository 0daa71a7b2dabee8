"""The suite's cases: requests in free words, and dialogues about things in wordings that training never uses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from data.things.dialogues import Dialogue, MediaPart, dialogue
from data.things.dialogues.rendering import can_be_rendered, render_medium
from evaluation.things.attributes import wanted
from evaluation.things.requests import free_requests

GROUPS = Path(__file__).with_name("groups.yaml")
#: Evaluation streams start here; those of training end far below.
FIRST_SEED = 20_000
#: The decoders' noise is another in each run: its seeds are this far apart.
NOISE = 1_000_003
#: Dialogues that are drawn for each that a group takes, at most.
MOST_DRAWN = 400


@dataclass(frozen=True)
class Case:
    """User turns, with the model's own replies between them, and what the last reply must bring.

    ``media`` are (modality, caption) of the media that it must bring, in order; ``answer`` words that it must hold.
    """

    group: str
    turns: tuple[list[dict[str, Any]], ...]
    media: tuple[tuple[str, str], ...]
    answer: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Group:
    """An entry of groups.yaml."""

    name: str
    kinds: Sequence[str]
    media: str
    count: int
    things: int | None = None
    topics: Sequence[str] = ()

    def counts(self, drawn: Dialogue) -> bool:
        """Whether a dialogue is of this group, and its media can be rendered here."""
        media = [modality for modality, _ in drawn.expected["media"]]
        shown = {part.modality for turn in drawn.turns if turn.role == "user" for part in turn.media}
        if not all(map(can_be_rendered, shown)) or (
            self.media != "-" and media != ([self.media] if self.media else [])
        ):
            return False
        if self.things and len(wanted(drawn.expected["media"][0][1])[0]) != self.things:
            return False
        return not self.topics or drawn.expected["topic"].startswith(tuple(self.topics))

    def cases(self, count: int, seed: int) -> Iterator[Case]:
        """Up to ``count`` cases; fewer where the data for their media is not there."""
        made = 0
        for index in range(MOST_DRAWN * count):
            if made == count:
                return
            kind = self.kinds[index % len(self.kinds)]
            drawn = dialogue(seed, index, kind=kind, language="en", wording="held_out", pairs="all")
            if self.counts(drawn):
                made += 1
                yield case(self.name, drawn, index)


def case(group: str, drawn: Dialogue, seed: int) -> Case:
    """A dialogue as a case."""
    users = tuple([content(part) for part in turn.parts] for turn in drawn.turns if turn.role == "user")
    media = tuple((modality, caption) for modality, caption in drawn.expected["media"])
    return Case(group, users, media, tuple(drawn.expected["answer"]), seed)


def content(part: str | MediaPart) -> dict[str, Any]:
    """One part of a turn in the form that ``AnyToAny.chat`` takes."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    array, rate = render_medium(part)
    return {"type": part.modality, "array": array, "rate": rate}


def free_cases(language: str, share: float) -> list[Case]:
    """The frozen requests in a language, or the first ``share`` of them."""
    found = free_requests(language)
    return [
        Case(f"free_{language}", ([{"type": "text", "text": request.say}],), request.media, (), index)
        for index, request in enumerate(found[: max(1, round(share * len(found)))])
    ]


def plan(share: float, seed: int) -> list[Case]:
    """All cases of a run; ``share`` 1 is the full suite."""
    groups = [Group(**entry) for entry in yaml.safe_load(GROUPS.read_text(encoding="utf-8"))]
    cases = [*free_cases("en", share), *free_cases("zh", share)]
    for stream, group in enumerate(groups):
        cases += group.cases(max(1, round(share * group.count)), FIRST_SEED + 1000 * seed + stream)
    return [replace(each, seed=NOISE * (seed + 1) + number) for number, each in enumerate(cases)]
