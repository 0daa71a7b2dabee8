"""What suites on datasets share: items of a manifest are put to the model, scored one by one, and reported.

plan       items with their seeds          items_of
answers    samples.jsonl, media/           evaluation.conversations.answered
verdicts   a line an item                  score: right or wrong by name, and scores
report     figures with intervals and n    figures; the worst items are shown first
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.atomic import hash_file
from data.manifest import Record, read_manifest
from evaluation import Settings
from evaluation.conversations import LastMessage, answered
from evaluation.own_data import evenly_spread, with_array
from evaluation.report import ShownConversation, write_report
from evaluation.samples import write_verdicts
from evaluation.statistics import Figures
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.any_to_any import set_num_threads

MAX_SHOWN = 60


@dataclass
class Item(LastMessage):
    """A question to a model, its media with their arrays, and what its reply is compared with."""

    references: list[str]  #: texts that are right
    meta: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass
class Score:
    """What is right of a reply, by name, and how good it is; ``worth`` orders the report, worst first."""

    right: dict[str, bool] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    note: str = ""  #: what was read in the reply

    @property
    def worth(self) -> float:
        values = [*map(float, self.right.values()), *self.scores.values()]
        return sum(values) / max(1, len(values))

    @property
    def mark(self) -> bool | None:
        return all(self.right.values()) if self.right else None


@dataclass(frozen=True)
class Benchmark:
    """One suite: which items it reads in records, how replies are scored, and which figures follow."""

    name: str
    items: Callable[[Iterable[Record]], Iterator[Item]]
    score: Callable[[Sequence[Item], Sequence[Reply]], list[Score]]
    figures: Callable[[Sequence[Item], Sequence[Score]], Figures]
    needs: str  #: what its records must have, for people


def run_benchmark(benchmark: Benchmark, settings: Settings) -> str:
    """Run a suite on the manifest ``settings.data``; the text to print.

    ValueError, before a model is loaded, where the manifest is missing or holds no item of the suite.
    """
    if settings.data is None:
        raise ValueError(f"{benchmark.name} needs --data MANIFEST.jsonl with {benchmark.needs}")
    items = items_in(benchmark, settings.data, settings.count, settings.seed)
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    return run_items(benchmark, settings, model, items, hash_file(settings.data))


def items_in(benchmark: Benchmark, path: Path, count: int, seed: int) -> list[Item]:
    """At most ``count`` items of a manifest, evenly spread. ValueError where it has none."""
    found = list(benchmark.items(read_manifest(path)))
    if not found:
        raise ValueError(f"{path} holds nothing for the suite {benchmark.name}: expected {benchmark.needs}")
    chosen = list(evenly_spread(found, count))
    for number, item in enumerate(chosen):
        item.seed = seed + number
        item.messages = [{**m, "content": [with_array(part) for part in m["content"]]} for m in item.messages]
    return chosen


def run_items(benchmark: Benchmark, settings: Settings, model: AnyToAny, items: list[Item], data: str) -> str:
    """Put items to a model, score and report them; the text to print, none where only a part is answered."""
    runs = answered(settings, benchmark.name, model, items, data=data)
    if settings.is_part:
        return ""
    replies = [run.replies[-1] for run in runs]
    scored = benchmark.score(items, replies)
    write_verdicts(settings.out, [verdict_of(item, score) for item, score in zip(items, scored, strict=True)])
    results = {
        "suite": benchmark.name,
        "model": {"hash": model.hash},
        "data": {"hash": data},
        "seed": settings.seed,
        "count": len(items),
        "metrics": benchmark.figures(items, scored).metrics(),
    }
    order = sorted(range(len(items)), key=lambda number: scored[number].worth)[:MAX_SHOWN]
    shown = [shown_item(items[number], replies[number], scored[number]) for number in order]
    return write_report(settings.out, "benchmark", results, conversations=shown)


def report_figures(settings: Settings, suite: str, model: AnyToAny, data: str, figures: Figures, **more: Any) -> str:
    """The report of a suite that puts no conversations; the text to print."""
    results = {
        "suite": suite,
        "model": {"hash": model.hash},
        "data": {"hash": data},
        **more,
        "seed": settings.seed,
        "count": settings.count,
        "metrics": figures.metrics(),
    }
    return write_report(settings.out, "benchmark", results, conversations=[])


def verdict_of(item: Item, score: Score) -> dict[str, Any]:
    """An item's line of verdicts.jsonl."""
    group = item.meta.get("category") or item.meta.get("subject") or "all"
    return {"group": str(group), "right": score.right, "scores": score.scores}


def shown_item(item: Item, reply: Reply, score: Score) -> ShownConversation:
    """An item as the report shows it."""
    scores = ", ".join(f"{name} {value:.3f}" for name, value in score.scores.items())
    expected = " / ".join(item.references[:5])
    note = "; ".join(part for part in (expected, score.note, scores) if part)
    title = str(item.meta.get("id") or item.meta.get("question_id") or item.meta.get("category") or "")
    return ShownConversation(title, [*item.messages, reply.as_message()], score.mark, note)


def text_of(message: dict[str, Any]) -> str:
    """The words of a message."""
    return " ".join(part["text"] for part in message["content"] if part["type"] == "text")


def media_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a message that are media with a file."""
    return [part for part in message["content"] if part["type"] != "text" and "path" in part]
