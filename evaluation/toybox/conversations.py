"""Judges the last reply of each conversation about Toybox."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from data import toybox
from evaluation.classifiers import classifier_array
from evaluation.conversations import ConversationRun
from evaluation.denials import without_denials
from evaluation.report import ShownConversation
from evaluation.statistics import generated
from evaluation.toybox.cases import Case
from evaluation.toybox.panel import DISPUTED, OTHER, Reading, read


@dataclass
class Judgement:
    """What the last reply got right: {modality or "text": {attribute: right}}, and whether it declined."""

    run: ConversationRun[Case]
    answers: dict[str, dict[str, bool]]
    declined: bool

    @property
    def case(self) -> Case:
        return self.run.case

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
        """Everything as requested: attributes, media, and a decline where one is due and nowhere else."""
        routed = sorted(self.case.requested[-1]) == sorted(generated(self.run.replies[-1]))
        return routed and self.declined == self.case.expected["unknown"] and all(self.attributes.values())


def score_media(runs: Iterable[ConversationRun[Case]]) -> None:
    """Fill the ``predictions`` of every conversation with what the judges name in each medium of each reply."""
    for run in runs:
        for reply in run.replies:
            media = [(medium.modality, [classifier_array(medium)]) for medium in reply.media]
            run.predictions.append([(modality, read(modality, array)[0]) for modality, array in media])


def readings(run: ConversationRun[Case]) -> list[Reading]:
    """What the judges named in all media of a conversation."""
    return [found for turn in run.predictions for _, found in turn if isinstance(found, Reading)]


def correct(expected: dict[str, Any], found: dict[str, Any] | None) -> dict[str, bool]:
    """For each expected attribute, whether it was found. ``found`` None: no such medium was generated, all wrong."""
    return {name: found is not None and found.get(name) == value for name, value in expected.items()}


def judge(run: ConversationRun[Case]) -> Judgement:
    """Compare the last reply with what its case expects."""
    text = run.replies[-1].text
    declined = bool(toybox.parse_reply(text).get("unknown"))
    said = stated(text)
    expected = run.case.expected_by_modality
    if "asked" in run.case.expected:  # about a medium that the model made: the truth is what it shows
        shown = run.predictions[0][0][1] if run.predictions[0] else {}
        expected = {"text": {name: _shown(shown, name) for name in expected["text"]}}
    answers = {}
    for modality, attributes in expected.items():
        first = next((found for kind, found in run.predictions[-1] if kind == modality), None)
        # A reply about several things names them all, and the first of them is what it is mainly about.
        several = {f"{name}s" for name in ("thing", "colour")} & set(attributes)
        words = toybox.parse_reply(without_denials(text)) if several else said
        answers[modality] = correct(attributes, words if modality == "text" else first)
    return Judgement(run, answers, declined and not run.replies[-1].media)


def stated(text: str) -> dict[str, Any]:
    """The attributes that a reply states. What it denies is left out; where it names several things or colours, "thing"
    and "colour" are none of them: "a bell or a drum" is neither."""
    found = toybox.parse_reply(without_denials(text))
    return found | {name: OTHER for name in ("thing", "colour") if len(found.get(f"{name}s", ())) > 1}


def _shown(found: dict[str, Any], name: str) -> Any:
    """What a medium of the model's own shows; where its judges differ, what the first of them names."""
    value = found.get(name)
    if value in (None, DISPUTED) and isinstance(found, Reading):
        value = found.either(name)
    return "nothing was made" if value is None else value


def shown_conversation(judgement: Judgement) -> ShownConversation:
    """A judged conversation as the report shows it."""
    case = judgement.case
    title = " ".join(part for part in (case.group, case.cell, f"({case.language})") if part)
    expected = [f"{kind}: {describe(case.expected_by_modality[kind], a)}" for kind, a in judgement.answers.items()]
    text = "a decline" if case.expected["unknown"] else "; ".join(expected)
    return ShownConversation(title, judgement.run.messages, judgement.right, text)


def describe(attributes: dict[str, Any], answer: dict[str, bool]) -> str:
    """ "thing bell, colour red (not met)" """
    return ", ".join(f"{k} {v}" + ("" if answer[k] else " (not met)") for k, v in attributes.items()) or "no attributes"
