"""The suite ``things``: requests in free words, questions about media and media out, on the world of things.

    nextgpt-lite evaluate things --count 100 --seed 7

``--count`` is percent of the full suite. Writes ``results.json`` and ``report.html``.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from data.boxes import overlap, parse_boxes
from encoders.trunk_encoder import TrunkEncoder
from evaluation import Settings
from evaluation.conversations import ConversationRun, answered
from evaluation.denials import without_denials
from evaluation.report import ShownConversation, write_report
from evaluation.samples import write_verdicts
from evaluation.seconds import cold_first_reply, warm_reply
from evaluation.statistics import Tally, generated, verdicts
from evaluation.things.cases import Case, plan
from evaluation.things.general import BATCH, perplexity_ratio
from evaluation.things.judging import ImageJudge
from evaluation.things.phrase_judging import CHOICES, PhraseJudge
from nextgpt_lite import AnyToAny
from nextgpt_lite.any_to_any import set_num_threads

TARGETS: dict[str, tuple[float, str]] = yaml.safe_load(
    Path(__file__).with_name("targets.yaml").read_text(encoding="utf-8")
)
REQUESTS = {
    "image": ("draw a red cat", "a blue boat on the sea, please", "draw two green frogs"),
    "audio": ("play a trumpet", "let me hear a violin", "play a drum, twice"),
    "video": ("make a video of a bee that moves to the left", "film a pink car", "a video of a spinning phone"),
}
MOST_SHOWN = 30


class Judge(Protocol):
    """Compares media of one modality with captions."""

    def agreement(self, caption: str, medium: np.ndarray, rate: float | None = None, /) -> dict[str, bool]:
        """Attribute that the caption asks for -> whether the medium has it; "thing" is always among them."""
        ...


@dataclass
class Judgement:
    """What the last reply of a conversation got right, by attribute: "routed", "answer", "thing", "colour" ..."""

    run: ConversationRun[Case]
    right: dict[str, bool]

    @property
    def all_right(self) -> bool:
        return all(self.right.values())


def run(settings: Settings) -> str:
    """Run the suite and write its files; the table to print. ValueError for a model that does not read things."""
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    if not isinstance(model.encoder, TrunkEncoder):
        raise ValueError(f"{settings.model}: the suite things judges with the encoder of small, which this model lacks")
    judges = find_judges(model.encoder)
    runs = answered(settings, "things", model, plan(settings.count / 100, settings.seed))
    if settings.is_part:
        return ""
    judgements = [Judgement(each, judge(each, judges)) for each in runs]
    write_verdicts(settings.out, [verdict_of(judgement) for judgement in judgements])
    metrics = measure(judgements)
    general = max(BATCH, round(2 * settings.count))
    metrics["general"] = {"perplexity_ratio": perplexity_ratio(model, general)}
    wanted = [modality for modality in REQUESTS if modality in model.core.config.conditions]
    metrics["seconds"] = {modality: warm_reply(model, REQUESTS[modality], modality) for modality in wanted}
    metrics["seconds"]["cold_first_reply"] = cold_first_reply(str(model.folder))
    results = {
        "suite": "things",
        "model": {"hash": model.hash},
        "seed": settings.seed,
        "count": settings.count,
        "metrics": metrics,
    }
    shown = choose_conversations(judgements, settings.seed)
    return write_report(settings.out, "things", results, verdicts=verdicts(metrics, TARGETS), conversations=shown)


def find_judges(encoder: TrunkEncoder) -> dict[str, Judge]:
    """Modality -> the judge of its media, as far as the encoder reads them."""
    heard = {modality: PhraseJudge(encoder, modality) for modality in CHOICES if modality in encoder.modalities}
    return {"image": ImageJudge(encoder), **heard}


def judge(run: ConversationRun[Case], judges: dict[str, Judge]) -> dict[str, bool]:
    """Compare the last reply with what its case expects; an attribute of several media is right where it is in all."""
    case, reply = run.case, run.replies[-1]
    right = {"routed": sorted(modality for modality, _ in case.media) == sorted(generated(reply))}
    if case.answer:
        right["answer"] = answers(reply.text, case.answer)
    for number, (modality, caption) in enumerate(case.media):
        if modality in judges:
            made = reply.media[number] if number < len(reply.media) else None
            found = {"thing": False}
            if made is not None and made.modality == modality:
                found = judges[modality].agreement(caption, made.array, made.rate)
            for name, is_right in found.items():
                right[name] = right.get(name, True) and is_right
    return right


def answers(text: str, expected: tuple[str, ...]) -> bool:
    """Whether a reply says all expected words, which it does not deny; of a box, one that overlaps it by over half."""
    said = text.lower() if expected[:1] == ("no",) else without_denials(text).lower()
    for words in expected:
        if boxes := parse_boxes(words):
            if not any(overlap(boxes[0], box) > 0.5 for box in parse_boxes(text)):
                return False
        elif words.lower() not in said:
            return False
    return True


def verdict_of(judgement: Judgement) -> dict[str, Any]:
    """A case's line of verdicts.jsonl."""
    return {"group": judgement.run.case.group, "right": judgement.right | {"all": judgement.all_right}}


def measure(judgements: list[Judgement]) -> dict[str, Any]:
    """Shares by group and attribute, with intervals beside; "all" is where every attribute is right."""
    tallies: dict[str, dict[str, Tally]] = defaultdict(lambda: defaultdict(Tally))
    for judgement in judgements:
        group = tallies[judgement.run.case.group]
        for name, right in judgement.right.items():
            group[name].add(right)
        group["all"].add(judgement.all_right)
    shares = {group: {name: tally.share for name, tally in own.items()} for group, own in tallies.items()}
    intervals = {f"{group}.{name}": tally.interval for group, own in tallies.items() for name, tally in own.items()}
    counts = {f"{group}.{name}": tally.total for group, own in tallies.items() for name, tally in own.items()}
    return {**shares, "intervals": intervals, "n": counts}


def choose_conversations(judgements: list[Judgement], seed: int) -> list[ShownConversation]:
    """Some right ones of every group, and misses; which ones, chance decides."""
    shuffled = random.Random(seed).sample(judgements, len(judgements))
    groups: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in shuffled:
        if judgement.all_right:
            groups[judgement.run.case.group].append(judgement)
    right = [each for members in groups.values() for each in members[:2]][:MOST_SHOWN]
    wrong = [each for each in shuffled if not each.all_right][: 2 * MOST_SHOWN]
    return [_shown(each) for each in (*right, *wrong)]


def _shown(judgement: Judgement) -> ShownConversation:
    case = judgement.run.case
    expected = [*(f"{modality}: {caption}" for modality, caption in case.media), *case.answer]
    missed = [name for name, right in judgement.right.items() if not right]
    text = "; ".join(expected or ["words alone"]) + (f" (not met: {', '.join(missed)})" if missed else "")
    return ShownConversation(case.group, judgement.run.messages, judgement.all_right, text)
