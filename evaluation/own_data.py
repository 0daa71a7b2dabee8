"""The suite ``own_data``: your own conversations; also ``any_to_any`` where it is given data.

    nextgpt-lite evaluate own_data --data MANIFEST.jsonl --count 100 [--judge FOLDER]

Every turn of the assistant in the manifest is a question: the model gets the messages before it, and its reply is
compared with the manifest's: words by captioning scores, media by features that are no part of the model
(evaluation.metrics.features), by the cosine to the manifest's own medium, and by whether that one, of all media of its
kind in the manifest, is the nearest. Judges that were trained on such files (evaluation.judges), or a language model at
an OpenAI-compatible address (evaluation.language_judge), say more.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from data.atomic import hash_file
from data.manifest import Record, read_manifest
from data.media.loading import load_medium
from data.modalities import MODALITIES
from evaluation import Settings
from evaluation.conversations import LastMessage, answered
from evaluation.judges import Judge, load_judges
from evaluation.language_judge import LanguageJudge
from evaluation.metrics.captions import bleu, cider_d, rouge_l, tokenize
from evaluation.metrics.features import DESCRIBE, Features, features_of
from evaluation.report import ShownConversation, write_report
from evaluation.samples import write_verdicts
from evaluation.statistics import Tally, generated, mean, mean_interval, routing
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.any_to_any import set_num_threads
from nextgpt_lite.conversation_media import media_part

MAX_SHOWN = 60
#: What ticks and crosses mean in the report.
MARKS = (
    "A cross: other media than requested were generated, or a judge finds the reply wrong. A tick: a judge finds it "
    "right, or it is the manifest's words and no medium. Else nothing judged it. Likeness is that of features which "
    "are no part of the model."
)
T = TypeVar("T")


@dataclass
class Question(LastMessage):
    """Messages up to a turn of the assistant, that turn's words and media, what the record says of its media."""

    text: str
    media: list[dict[str, Any]]
    attributes: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    @property
    def requested(self) -> list[str]:
        """Modalities of the media that the manifest's reply holds."""
        return [part["type"] for part in self.media]


class Similarity(NamedTuple):
    """A generated medium and the manifest's: their cosine, and whether that one is the nearest (None: there is one)."""

    modality: str
    cosine: float
    nearest: bool | None


@dataclass
class Answer:
    """The model's reply to a question, its media compared with the manifest's."""

    question: Question
    reply: Reply
    similarity: list[Similarity] = field(default_factory=list)
    judged: bool | None = None  #: by a judge; None where none answers


def run(settings: Settings) -> str:
    """Run ``count`` conversations, evenly spread over the manifest, and write the suite's files; the text to print.

    Raises data.manifest.FormatError or data.media.loading.MediaError at the first record that cannot be read, before a
    model is loaded and before anything is written.
    """
    if settings.data is None:
        raise ValueError("own_data and --judge need --data MANIFEST.jsonl")
    records = evenly_spread(list(read_manifest(settings.data)), settings.count)
    judges = load_judges(settings.judge) if settings.judge is not None else None
    reader = LanguageJudge.parse(settings.language_judge) if settings.language_judge is not None else None
    features = settings.features or "descriptor"
    networks = {kind: network for kind in DESCRIBE if (network := features_of(features, kind)) is not None}
    questions = [question for record in records for question in questions_of(record)]
    if not questions:
        raise ValueError(f"{settings.data} holds no turn of an assistant: there is nothing to compare replies with")
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    questions = [replace(question, seed=settings.seed + index) for index, question in enumerate(questions)]
    runs = answered(settings, "own_data", model, questions, data=hash_file(settings.data))
    if settings.is_part:
        return ""
    answers = compare(questions, [run.replies[0] for run in runs], networks)
    if judges:
        for answer in answers:
            answer.judged = right_by_judges(answer, judges)
    if reader:
        judge_words(answers, reader)
    write_verdicts(settings.out, [verdict_of(answer) for answer in answers])
    results = {
        "suite": "own_data",
        "model": {"hash": model.hash},
        "data": {"hash": hash_file(settings.data)},
        "seed": settings.seed,
        "count": len(records),
        "features": {kind: {"name": network.name, "hash": network.hash} for kind, network in networks.items()},
        "judges": ({reader.name: reader.hash} if reader else {})
        | ({f"{name} {judge.attribute}": judge.hash for name, judge in judges.items()} if judges else {}),
        "metrics": measure(answers),
    }
    worst = sorted(answers, key=lambda answer: {False: 0, None: 1, True: 2}[mark_of(answer)])[:MAX_SHOWN]
    shown = [shown_conversation(answer) for answer in worst]
    more = {"conversations": shown, "subtitle": "on your own data", "note": MARKS}
    return write_report(settings.out, "benchmark", results, **more)


def evenly_spread(records: Sequence[T], count: int) -> Sequence[T]:
    """At most ``count`` records at even distances: manifests are often in order of what they show."""
    return [records[i * len(records) // count] for i in range(count)] if count < len(records) else records


def questions_of(record: Record) -> Iterator[Question]:
    """One question for each turn of the assistant in a record, its media read from their files."""
    messages = [{**m, "content": [with_array(part) for part in m["content"]]} for m in record["messages"]]
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            words = " ".join(part["text"] for part in message["content"] if part["type"] == "text")
            media = [part for part in message["content"] if part["type"] in MODALITIES]
            yield Question(messages[:index], words, media, attributes_of(record))


def attributes_of(record: Record) -> dict[str, Any]:
    """What a record says that its media show. ValueError where ``meta.attributes`` is no mapping."""
    found = record["meta"].get("attributes", {})
    if not isinstance(found, dict):
        raise ValueError(f'meta.attributes must map names to values, as in {{"thing": "bell"}}, not be {found!r}')
    return found


def with_array(part: dict[str, Any]) -> dict[str, Any]:
    """A part as ``AnyToAny.chat`` takes it; a medium that is a caption alone is left as it is."""
    if part["type"] == "text" or "path" not in part:
        return part
    medium = load_medium(part["path"])
    if medium.modality != part["type"]:
        raise ValueError(f"{part['path']} is listed as {part['type']}, but it holds {medium.modality}")
    return media_part(medium)


def compare(questions: list[Question], replies: list[Reply], networks: Mapping[str, Features]) -> list[Answer]:
    """Each reply beside its question, media compared by the features of their kind, kind by kind and in order.

    Media that are captions alone, and kinds that the features do not read, are not compared.
    """
    answers = [Answer(question, reply) for question, reply in zip(questions, replies, strict=True)]
    for kind, network in networks.items():
        known = [part for q in questions for part in q.media if part["type"] == kind and "array" in part]
        if not known:
            continue
        gallery = unit(network([(part["array"], part.get("rate")) for part in known]))  # (N, E)
        row = -1
        for answer in answers:
            expected = [part for part in answer.question.media if part["type"] == kind]
            made = [medium for medium in answer.reply.media if medium.modality == kind]
            for number, part in enumerate(expected):
                row += "array" in part
                if "array" in part and number < len(made):  # one too many or too few is a matter of routing
                    cosines = gallery @ unit(network([(made[number].array, made[number].rate)]))[0]
                    nearest = bool(cosines.argmax() == row) if len(known) > 1 else None
                    answer.similarity.append(Similarity(kind, float(cosines[row]), nearest))
    return answers


def unit(features: np.ndarray) -> np.ndarray:
    """Rows (N, E) of length one."""
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-9)


def measure(answers: list[Answer]) -> dict[str, Any]:
    """Routing, agreement of words, similarity of media by kind, and verdicts of judges by cell, with their intervals;
    None where nothing was requested."""
    precision, recall = routing((answer.question.requested, generated(answer.reply)) for answer in answers)
    texts = [(answer.question.text, answer.reply.text) for answer in answers if answer.question.text]
    said, wanted = [tokenize(found) for _, found in texts], [[tokenize(expected)] for expected, _ in texts]
    same = Tally.of(words(expected) == words(found) for expected, found in texts)
    scores = {"words_f1": [f1(*pair) for pair in texts], "rouge_l": rouge_l(said, wanted).items}
    scores["cider_d"] = cider_d(said, wanted).items
    metrics: dict[str, Any] = {
        "questions": len(answers),
        "routing_precision": precision.share,
        "routing_recall": recall.share,
        "words_same": same.share,
        "bleu_4": bleu(said, wanted).total if texts else None,
        **{name: mean(values) for name, values in scores.items()},
    }
    tallies = {"routing_precision": precision, "routing_recall": recall, "words_same": same}
    for kind in sorted({each.modality for answer in answers for each in answer.similarity}):
        found = [each for answer in answers for each in answer.similarity if each.modality == kind]
        nearest = tallies[f"{kind}.nearest"] = Tally.of(each.nearest for each in found if each.nearest is not None)
        cosines = scores[f"{kind}.cosine"] = [each.cosine for each in found]
        metrics[kind] = {"cosine": mean(cosines), "nearest": nearest.share, "made": len(found)}
    if judged := judge_replies(answers):
        metrics["judged"] = {cell: {"right": tally.share, "count": tally.total} for cell, tally in judged.items()}
        tallies |= {f"judged.{cell}.right": tally for cell, tally in judged.items()}
    metrics["n"] = {name: tally.total for name, tally in tallies.items() if tally.total}
    metrics["n"] |= {name: len(values) for name, values in scores.items() if values}
    metrics["n"] |= {"bleu_4": len(texts)} if texts else {}
    metrics["intervals"] = {name: tally.interval for name, tally in tallies.items() if tally.total}
    metrics["intervals"] |= {name: low_high for name, own in scores.items() if (low_high := mean_interval(own))}
    return metrics


def right_by_judges(answer: Answer, judges: dict[str, Judge]) -> bool | None:
    """Whether what was said and generated is what the manifest says it is; None where no judge can say.

    Records whose ``meta.attributes`` do not name what the judges judge cannot be judged, nor media without a judge.
    """
    any_judge = next(iter(judges.values()))  # all of them judge the same attribute
    requested, truth = answer.question.requested, answer.question.attributes.get(any_judge.attribute)
    if truth not in any_judge.classes or not all(kind in judges for kind in requested):
        return None
    if requested:
        return all(judges[kind].shows(answer.reply, truth) for kind in requested)
    return any_judge.says(answer.reply.text, truth)


def judge_words(answers: Sequence[Answer], judge: LanguageJudge) -> None:
    """Have a language model judge the replies that no other judge has judged and that are words alone."""
    open_ones = [a for a in answers if a.judged is None and a.question.text and not a.question.requested]
    asked = [(_spoken(a.question.messages[-1]), a.question.text, a.reply.text) for a in open_ones]
    for answer, verdict in zip(open_ones, judge.verdicts(asked), strict=True):
        answer.judged = verdict


def _spoken(message: dict[str, Any]) -> str:
    return " ".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in message["content"])


def judge_replies(answers: Iterable[Answer]) -> dict[str, Tally]:
    """{cell: how many are right of the replies that were judged}.

    A reply counts under its cell, "audio->image" say: what the user has shown so far, and what the manifest's reply
    holds.
    """
    tallies: dict[str, Tally] = defaultdict(Tally)
    for answer in answers:
        if answer.judged is not None:
            tallies[cell_of(answer.question.messages, answer.question.requested)].add(answer.judged)
    return dict(sorted(tallies.items()))


def cell_of(messages: list[dict[str, Any]], requested: list[str]) -> str:
    """ "image->text": media that the user has shown, text where none; media requested, text where none."""
    shown = {part["type"] for message in messages if message["role"] == "user" for part in message["content"]}
    return "+".join(sorted(shown - {"text"}) or ["text"]) + "->" + "+".join(sorted(requested) or ["text"])


def words(text: str) -> list[str]:
    """Words in lower case; Chinese characters count as words."""
    return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower())


def f1(expected: str, found: str) -> float:
    """Harmonic mean of precision and recall of the words of ``found`` among those of ``expected``."""
    ours, theirs = Counter(words(found)), Counter(words(expected))
    return 2 * (ours & theirs).total() / max(1, ours.total() + theirs.total())


def shown_conversation(answer: Answer) -> ShownConversation:
    """An answer as the report shows it: what was asked, the reply, what the manifest has."""
    expected = " ".join([answer.question.text, *(f"[{kind}]" for kind in answer.question.requested)])
    similarity = "".join(f"; {each.modality} cosine {each.cosine:.2f}" for each in answer.similarity)
    messages = [*answer.question.messages, answer.reply.as_message()]
    return ShownConversation(
        " ".join(generated(answer.reply)) or "text", messages, mark_of(answer), expected + similarity
    )


def mark_of(answer: Answer) -> bool | None:
    """What is certain of a reply: wrong where its media are not those requested, else what a judge says; right where it
    is the manifest's words alone. That a medium came makes nothing right."""
    right = verdict_of(answer)["right"]
    if not right["routed"]:
        return False
    if answer.judged is not None:
        return answer.judged
    return True if right.get("words") and not answer.question.requested else None


def verdict_of(answer: Answer) -> dict[str, Any]:
    """A question's line of verdicts.jsonl: whether the media are those requested, and the words the manifest's."""
    question = answer.question
    right = {"routed": sorted(question.requested) == sorted(generated(answer.reply))}
    right |= {"words": words(question.text) == words(answer.reply.text)} if question.text else {}
    right |= {} if answer.judged is None else {"judged": answer.judged}
    return {"group": cell_of(question.messages, question.requested), "right": right}
