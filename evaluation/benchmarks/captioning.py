"""The suite ``captioning``: what a model says of media, against captions of people.

    nextgpt-lite import coco_captions captions_val2014.json --media val2014 --out runs/coco
    nextgpt-lite evaluate captioning --data runs/coco/manifest.jsonl --model MODEL --count 500

COCO, AudioCaps, MSR-VTT, and any pairs of media and captions: all captions of a medium are its references.
"""

from collections.abc import Iterable, Iterator, Sequence
from statistics import stdev

import numpy as np

from data.manifest import Record
from evaluation import Settings
from evaluation.benchmarks.suite import Benchmark, Item, Score, media_of, run_benchmark, text_of
from evaluation.metrics.captions import Scored, bleu, cider_d, meteor, rouge_l, tokenize
from evaluation.statistics import Figures
from nextgpt_lite import Reply

#: Scores of one item, by which the report is ordered and intervals are found.
BY_ITEM = ("rouge_l", "cider_d", "meteor")


def run(settings: Settings) -> str:
    """Run the suite; the text to print."""
    return run_benchmark(BENCHMARK, settings)


def items(records: Iterable[Record]) -> Iterator[Item]:
    """One item a medium: the first question about it, and all captions of it as references."""
    found: dict[str, Item] = {}
    for record in records:
        *before, last = record["messages"]
        if len(before) == 1 and len(media_of(before[0])) == 1 and (caption := text_of(last)) and not media_of(last):
            path = media_of(before[0])[0]["path"]
            found.setdefault(path, Item(before, [], record["meta"])).references.append(caption)
    yield from found.values()


def score(asked: Sequence[Item], replies: Sequence[Reply]) -> list[Score]:
    """ROUGE-L, CIDEr-D, METEOR where Java is, and BLEU-4 of each reply."""
    said = [tokenize(reply.text) for reply in replies]
    known = [[tokenize(each) for each in item.references] for item in asked]
    found: dict[str, Scored] = {f"bleu_{order}": bleu(said, known, order) for order in (1, 2, 3, 4)}
    found |= {"rouge_l": rouge_l(said, known), "cider_d": cider_d(said, known)}
    if measured := meteor(said, known):
        found["meteor"] = measured
    rows = [Score(scores={name: own.items[row] for name, own in found.items()}) for row in range(len(asked))]
    for row, text in zip(rows, said, strict=True):
        row.note = text  # as it was compared
    return rows


def figures(asked: Sequence[Item], scored: Sequence[Score]) -> Figures:
    """Means over items with intervals; BLEU, which is one figure of all items, with an interval by resampling them."""
    known = [[tokenize(each) for each in item.references] for item in asked]
    said, found = [row.note for row in scored], Figures()
    for order in (1, 2, 3, 4):
        total = bleu(said, known, order).total
        found.value(f"bleu_{order}", total, len(asked), _resampled(total, said, known, order))
    for name in BY_ITEM:
        found.mean(name, [row.scores[name] for row in scored if name in row.scores])
    found.mean("words", [float(len(text.split())) for text in said])
    found.mean("references", [float(len(own)) for own in known])
    return found


def _resampled(
    total: float, said: Sequence[str], known: Sequence[Sequence[str]], order: int, rounds: int = 50
) -> tuple[float, float] | None:
    """The 95 % interval of a BLEU by its deviation over items that are drawn anew; None of one item."""
    if len(said) < 2:
        return None
    rng, totals = np.random.default_rng(0), []
    for _ in range(rounds):
        rows: list[int] = rng.integers(len(said), size=len(said)).tolist()
        totals.append(bleu([said[row] for row in rows], [known[row] for row in rows], order).total)
    spread = 1.96 * stdev(totals)
    return max(0.0, total - spread), min(1.0, total + spread)


BENCHMARK = Benchmark("captioning", items, score, figures, "records of one medium and its caption each")
