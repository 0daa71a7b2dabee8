"""The suites ``vqa``, ``choices`` and ``hallucination``: questions about media with short answers.

nextgpt-lite import vqav2 v2_mscoco_val2014_annotations.json --media val2014 --out runs/vqa
nextgpt-lite evaluate vqa --data runs/vqa/manifest.jsonl --model MODEL
nextgpt-lite evaluate choices --data runs/scienceqa/manifest.jsonl --model MODEL      # ScienceQA, OmniBench, MMIE
nextgpt-lite evaluate hallucination --data runs/pope/manifest.jsonl --model MODEL     # POPE
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from data.manifest import Record
from evaluation import Settings
from evaluation.benchmarks.suite import Benchmark, Item, Score, run_benchmark, text_of
from evaluation.metrics.answers import YesNo, chosen_letter, says_yes, vqa_accuracy
from evaluation.statistics import Figures, Tally
from nextgpt_lite import Reply


def run_vqa(settings: Settings) -> str:
    """Run the suite ``vqa``; the text to print."""
    return run_benchmark(VQA, settings)


def run_choices(settings: Settings) -> str:
    """Run the suite ``choices``; the text to print."""
    return run_benchmark(CHOICES, settings)


def run_hallucination(settings: Settings) -> str:
    """Run the suite ``hallucination``; the text to print."""
    return run_benchmark(HALLUCINATION, settings)


def _questions(fits: Callable[[Record], bool]) -> Callable[[Iterable[Record]], Iterator[Item]]:
    """The records that fit as items: the messages before the last, whose words are the reference."""

    def items(records: Iterable[Record]) -> Iterator[Item]:
        for record in records:
            *before, last = record["messages"]
            if before and last["role"] == "assistant" and fits(record):
                yield Item(before, [text_of(last)], record["meta"])

    return items


def _by(items: Sequence[Item], key: str) -> dict[str, list[int]]:
    """Numbers of items by a key of their meta."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        if item.meta.get(key):
            groups[str(item.meta[key])].append(number)
    return groups if len(groups) > 1 else {}


# -- open answers ----------------------------------------------------------------------------------------------------


def score_vqa(items: Sequence[Item], replies: Sequence[Reply]) -> list[Score]:
    """VQA's soft accuracy by ``meta.answers``, or by the one answer of the record."""
    known = [_answers(item) for item in items]
    return [
        Score(scores={"accuracy": vqa_accuracy(reply.text, given)}) for given, reply in zip(known, replies, strict=True)
    ]  # fmt: skip


def _answers(item: Item) -> list[str]:
    """What people answered; one answer may stand in ``meta.answers`` without a list."""
    given = item.meta.get("answers") or item.references
    return list(map(str, given if isinstance(given, list) else [given]))


def vqa_figures(items: Sequence[Item], scored: Sequence[Score]) -> Figures:
    """Mean accuracy, and by the type of answer where the records name one."""
    found = Figures()
    found.mean("accuracy", [row.scores["accuracy"] for row in scored])
    for group, numbers in _by(items, "answer_type").items():
        found.mean(f"accuracy.{group}", [scored[number].scores["accuracy"] for number in numbers])
    return found


VQA = Benchmark("vqa", _questions(lambda record: True), score_vqa, vqa_figures, "questions and their answers")


# -- multiple choice -------------------------------------------------------------------------------------------------


def score_choices(items: Sequence[Item], replies: Sequence[Reply]) -> list[Score]:
    """Whether a reply names the right choice, and whether it names one at all."""
    scored = []
    for item, reply in zip(items, replies, strict=True):
        choices = list(map(str, item.meta["choices"]))  # numbers in some datasets
        letter = chosen_letter(reply.text, choices)
        note = "no choice" if letter is None else f"chose {choices[letter]}"
        scored.append(Score({"right": letter == item.meta["answer"], "answered": letter is not None}, note=note))
    return scored


def choice_figures(items: Sequence[Item], scored: Sequence[Score]) -> Figures:
    """Accuracy of all and by subject or category, how often a choice is named, and what guessing would give."""
    found = Figures()
    for name in ("right", "answered"):
        found.share({"right": "accuracy"}.get(name, name), Tally.of(row.right[name] for row in scored))
    found.mean("chance", [1 / len(item.meta["choices"]) for item in items])
    for key in ("subject", "category"):
        for group, numbers in _by(items, key).items():
            found.share(f"accuracy.{group}", Tally.of(scored[number].right["right"] for number in numbers))
    return found


def _has_choices(record: Record) -> bool:
    choices, answer = record["meta"].get("choices"), record["meta"].get("answer")
    return isinstance(choices, list) and isinstance(answer, int) and 0 <= answer < len(choices)


CHOICES = Benchmark(
    "choices", _questions(_has_choices), score_choices, choice_figures, 'questions with "choices" and "answer" in meta'
)


# -- yes or no -------------------------------------------------------------------------------------------------------


def score_yes_no(items: Sequence[Item], replies: Sequence[Reply]) -> list[Score]:
    """Whether yes or no is right."""
    said = [says_yes(reply.text) for reply in replies]
    return [
        Score({"right": yes == says_yes(item.references[0])}, note="yes" if yes else "no")
        for item, yes in zip(items, said, strict=True)
    ]


def yes_no_figures(items: Sequence[Item], scored: Sequence[Score]) -> Figures:
    """POPE's accuracy, precision, recall, F1 and share of yes, of all and by category."""
    found = Figures()
    for group, numbers in {"": list(range(len(items))), **_by(items, "category")}.items():
        counts = YesNo.of((scored[number].note == "yes", says_yes(items[number].references[0])) for number in numbers)
        end = f".{group}" if group else ""
        for name, tally in (("accuracy", counts.accuracy), ("precision", counts.precision), ("recall", counts.recall),
                            ("yes", counts.yes)):  # fmt: skip
            found.share(name + end, tally)
        found.value(f"f1{end}", counts.f1, len(numbers))
    return found


def _is_yes_no(record: Record) -> bool:
    return text_of(record["messages"][-1]).strip().lower().rstrip(".") in ("yes", "no")


HALLUCINATION = Benchmark(
    "hallucination", _questions(_is_yes_no), score_yes_no, yes_no_figures, "questions whose answer is yes or no"
)
