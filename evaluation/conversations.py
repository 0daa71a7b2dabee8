"""Puts cases to the model, turn by turn with its own replies between them, and judges what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from data.toybox import parse_reply
from evaluation.cases import Case
from evaluation.oracles import Oracle
from evaluation.report import Talk
from evaluation.scoring import agreement
from nextgpt_lite import AnyToAny, Reply

#: Called with (what is being done, done, total).
Progress = Callable[[str, int, int], None]


@dataclass
class Held:
    """A conversation that took place: ``replies`` of the model, one a user turn, and what the oracles ``saw``.

    ``saw[turn]`` lists (modality, attributes) of the media in that turn's reply.
    """

    case: Case
    messages: list[dict] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    saw: list[list[tuple[str, dict]]] = field(default_factory=list)


@dataclass
class Verdict:
    """What the last reply got right: {modality or "text": {attribute: right}}, and whether it declined."""

    held: Held
    answers: dict[str, dict[str, bool]]
    declined: bool

    @property
    def attributes(self) -> dict[str, bool]:
        """All attributes in one; one that several media carry is right where it is right in each."""
        merged: dict[str, bool] = {}
        for answer in self.answers.values():
            for name, right in answer.items():
                merged[name] = merged.get(name, True) and right
        return merged

    @property
    def right(self) -> bool:
        """Everything as asked: attributes, media, and a decline where one is due and nowhere else."""
        case = self.held.case
        routed = sorted(case.asked[-1]) == sorted(produced(self.held.replies[-1]))
        return routed and self.declined == case.expected["unknown"] and all(self.attributes.values())


def produced(reply: Reply) -> tuple[str, ...]:
    """Modalities of the media in a reply."""
    return tuple(medium.modality for medium in reply.media)


def hold(model: AnyToAny, cases: list[Case], batch_size: int = 16, progress: Progress | None = None) -> list[Held]:
    """All conversations, ``batch_size`` at a time: neighbours ask for the same medium, so decoders run full."""
    conversations = []
    for start in range(0, len(cases), batch_size):
        batch = [Held(case) for case in cases[start : start + batch_size]]
        for turn in range(max(len(held.case.turns) for held in batch)):
            speaking = [held for held in batch if turn < len(held.case.turns)]
            take_turn(model, speaking, turn)
        conversations += batch
        if progress:
            progress("conversations", len(conversations), len(cases))
    return conversations


def take_turn(model: AnyToAny, speaking: list[Held], turn: int) -> None:
    """User turn number ``turn`` of each conversation and the model's replies, in one batch."""
    for held in speaking:
        held.messages.append({"role": "user", "content": held.case.turns[turn]})
    seeds = [held.case.seed + 1000 * turn for held in speaking]
    replies = model.chat_batch([held.messages for held in speaking], seeds=seeds)
    for held, reply in zip(speaking, replies, strict=True):
        held.replies.append(reply)
        held.messages.append(reply.as_message())


def look(oracles: dict[str, Oracle], conversations: list[Held], progress: Progress | None = None) -> None:
    """Fill ``saw`` of every conversation: what the oracles see in each medium of each reply."""
    for held in conversations:
        held.saw = [[(medium.modality, {}) for medium in reply.media] for reply in held.replies]
    for number, (modality, oracle) in enumerate(oracles.items()):
        media, seen = [], []
        for held in conversations:
            for reply, saw in zip(held.replies, held.saw, strict=True):
                media += [medium.array for medium in reply.media if medium.modality == modality]
                seen += [attributes for kind, attributes in saw if kind == modality]
        for attributes, found in zip(seen, oracle.predict(media), strict=True):
            attributes.update(found)
        if progress:
            progress("oracles", number + 1, len(oracles))


def judge(held: Held) -> Verdict:
    """Compare the last reply with what its case wants."""
    spoken = parse_reply(held.replies[-1].text)
    wanted = held.case.wanted
    if "asked" in held.case.expected:  # about a medium of the model's own: what it shows is what the oracle sees there
        shown = held.saw[0][0][1] if held.saw[0] else {}
        wanted = {"text": {name: shown.get(name, "nothing was made") for name in wanted["text"]}}
    answers = {}
    for modality, attributes in wanted.items():
        seen = spoken if modality == "text" else next((a for kind, a in held.saw[-1] if kind == modality), None)
        answers[modality] = agreement(attributes, seen)
    return Verdict(held, answers, bool(spoken.get("unknown")) and not held.replies[-1].media)


def talk_of(verdict: Verdict) -> Talk:
    """A verdict as the report shows it."""
    case = verdict.held.case
    title = " ".join(part for part in (case.group, case.cell, f"({case.language})") if part)
    wanted = "; ".join(f"{kind}: {describe(case.wanted[kind], answer)}" for kind, answer in verdict.answers.items())
    return Talk(title, verdict.held.messages, verdict.right, "a decline" if case.expected["unknown"] else wanted)


def describe(attributes: dict, answer: dict[str, bool]) -> str:
    """ "thing bell, colour red (not met)" """
    return ", ".join(f"{k} {v}" + ("" if answer[k] else " (not met)") for k, v in attributes.items()) or "no attributes"
