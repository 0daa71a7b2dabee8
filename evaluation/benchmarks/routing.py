"""The suite ``routing``: which media a model's replies call for, against those that were requested.

    nextgpt-lite evaluate routing --model nano --count 500 --seed 101
    nextgpt-lite evaluate routing --data MANIFEST.jsonl --model MODEL

Only the text of replies is generated, its signal tokens read, and nothing decoded: NExT-GPT's modality switching alone,
in a fraction of the time. Without data the dialogues are Toybox's.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tqdm import tqdm

from data import toybox
from data.atomic import hash_file
from data.manifest import read_manifest
from evaluation import Settings
from evaluation.benchmarks.suite import report_figures
from evaluation.own_data import Question, evenly_spread, questions_of
from evaluation.statistics import Figures, Tally, routing
from evaluation.toybox.cases import case, stream_seed
from nextgpt_lite import AnyToAny
from nextgpt_lite.any_to_any import set_num_threads
from nextgpt_lite.generate import Sampling, generate

BATCH, STREAM = 16, 97
LONGEST = 160


class Routed(NamedTuple):
    """Media that were requested, and those that the reply calls for."""

    requested: tuple[str, ...]
    called: tuple[str, ...]


def run(settings: Settings) -> str:
    """Run the suite; the text to print. ValueError where the data hold no reply."""
    if settings.data is None:
        questions, data = toybox_questions(settings.count, settings.seed), toybox.source_hash()
    else:
        records = evenly_spread(list(read_manifest(settings.data)), settings.count)
        questions, data = [each for record in records for each in questions_of(record)], hash_file(settings.data)
    if not questions:
        raise ValueError(f"{settings.data} holds no turn of an assistant: there is nothing to route")
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    found = [Routed(tuple(q.requested), called) for q, called in zip(questions, calls(model, questions), strict=True)]
    return report_figures(settings, "routing", model, data, figures(found))


def toybox_questions(count: int, seed: int) -> list[Question]:
    """The first turns of ``count`` dialogues of an evaluation stream."""
    stream, found = stream_seed(seed, STREAM), []
    for index in range(count):
        one = case("routing", "", toybox.dialogue(stream, index), stream + index)
        messages = [{"role": "user", "content": one.turns[0]}]
        found.append(Question(messages, "", [{"type": name} for name in one.requested[0]]))
    return found


def calls(model: AnyToAny, questions: Sequence[Question]) -> Iterator[tuple[str, ...]]:
    """Modalities of the media that the model's reply to each question calls for."""
    with tqdm(total=len(questions), desc="routing", unit="reply") as bar:
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            asked = [(model.prepare(each.messages), Sampling(LONGEST, 0.0, 0)) for each in batch]
            for row in generate(model.core, model.end_tokens, asked, None, model.decoding):
                _, requests = model.read(row)
                yield tuple(request.modality for request in requests)
            bar.update(len(batch))


def figures(found: Sequence[Routed]) -> Figures:
    """Precision and recall of all media and of each, replies with exactly what was requested, and what was confused."""
    result = Figures()
    precision, recall = routing((each.requested, each.called) for each in found)
    result.share("precision", precision)
    result.share("recall", recall)
    result.share("exact", Tally.of(sorted(each.requested) == sorted(each.called) for each in found))
    for name in sorted({name for each in found for name in (*each.requested, *each.called)}):
        own = [([n for n in each.requested if n == name], [n for n in each.called if n == name]) for each in found]
        for what, tally in zip(("precision", "recall"), routing(own), strict=True):
            result.share(f"{name}.{what}", tally)
    for (requested, called), count in sorted(confused(found).items()):
        result.share(f"confused.{requested}->{called}", Tally(count, len(found)))
    return result


def confused(found: Sequence[Routed]) -> Counter[tuple[str, str]]:
    """(requested, called) of the replies where they differ, "text" for none."""
    pairs = (("+".join(sorted(each.requested)) or "text", "+".join(sorted(each.called)) or "text") for each in found)
    return Counter(pair for pair in pairs if pair[0] != pair[1])
