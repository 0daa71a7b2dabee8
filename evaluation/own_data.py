"""The suite ``own_data``: your own conversations; also ``any_to_any`` where it is given data.

    nextgpt-lite evaluate own_data --data MANIFEST.jsonl --count 100 [--judge FOLDER]

Every turn of the assistant in the manifest is a question: the model gets the messages before it, and its reply is
compared with the manifest's. No oracle knows what these media show, so a generated medium is compared by the encoder:
by the cosine to the manifest's own medium, and by whether that one, of all media of its kind in the manifest, is the
nearest. Judges that were trained on such files (evaluation.judges) say more, see evaluation.judged_replies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from data.atomic import hash_file
from data.manifest import Record, read_manifest
from data.media_intake import load_medium
from data.modalities import MODALITIES
from evaluation.judged_replies import JudgedReply, judge_replies
from evaluation.judges import Judge, load_judges
from evaluation.report import ShownConversation, write_report
from evaluation.settings import Progress, Settings
from evaluation.statistics import Tally, flat, mean, number, routing
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.threads import set_num_threads

MAX_SHOWN = 60


@dataclass
class Question:
    """Messages up to a turn of the assistant, that turn's words and media, what the record says of its media."""

    messages: list[dict[str, Any]]
    text: str
    media: list[dict[str, Any]]
    attributes: dict[str, str] = field(default_factory=dict)

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
    similarity: list[Similarity]

    @property
    def generated(self) -> list[str]:
        """Modalities of the media in the reply."""
        return [medium.modality for medium in self.reply.media]


def run(settings: Settings, progress: Progress | None = None) -> str:
    """Run the suite and write its files; one metric a line, to print."""
    if settings.data is None:
        raise ValueError("own_data and --judge need --data MANIFEST.jsonl")
    for _ in read_manifest(settings.data):  # a bad line is reported before a model is loaded
        pass
    judges = load_judges(settings.judge) if settings.judge is not None else None
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    results = evaluate(model, settings.data, settings.count, settings.seed, settings.out, progress, judges)
    lines = [f"suite {results['suite']}, {results['count']} conversations, seed {results['seed']}", ""]
    return "\n".join(lines + [f"{name:<40}{number(value):>8}" for name, value in flat(results["metrics"])])


def evaluate(
    model: AnyToAny,
    manifest: Path,
    count: int,
    seed: int,
    out: Path,
    progress: Progress | None = None,
    judges: dict[str, Judge] | None = None,
) -> dict[str, Any]:
    """Run ``count`` conversations, evenly spread over ``manifest``; write results.json and report.html into ``out``.

    Raises data.manifest.FormatError or data.media_intake.MediaError at the first record that cannot be read, before
    anything is written.
    """
    records = evenly_spread(list(read_manifest(manifest)), count)
    questions = [question for record in records for question in questions_of(record)]
    if not questions:
        raise ValueError(f"{manifest} holds no turn of an assistant: there is nothing to compare replies with")
    replies = []
    for index, question in enumerate(questions):
        replies.append(model.chat(question.messages, seed=seed + index))
        if progress:
            progress("conversations", index + 1, len(questions))
    answers = compare(model, questions, replies)
    metrics = measure(answers)
    if judges:
        judged = (
            JudgedReply(a.question.messages, a.question.requested, a.question.attributes, a.reply) for a in answers
        )
        metrics["judged"] = judge_replies(judged, judges)
    results = {
        "suite": "own_data",
        "model": {"hash": model.hash},
        "data": {"hash": hash_file(manifest)},
        "seed": seed,
        "count": len(records),
        "metrics": metrics,
    }
    shown = [shown_conversation(answer) for answer in answers[:MAX_SHOWN]]
    write_report(out, "own_data.html", results, conversations=shown)
    return results


def evenly_spread(records: Sequence[Record], count: int) -> Sequence[Record]:
    """At most ``count`` records at even distances: manifests are often in order of what they show."""
    return [records[i * len(records) // count] for i in range(count)] if count < len(records) else records


def questions_of(record: Record) -> Iterator[Question]:
    """One question for each turn of the assistant in a record, its media read from their files."""
    messages = [{**m, "content": [with_array(part) for part in m["content"]]} for m in record["messages"]]
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            words = " ".join(part["text"] for part in message["content"] if part["type"] == "text")
            media = [part for part in message["content"] if part["type"] in MODALITIES]
            yield Question(messages[:index], words, media, record["meta"].get("attributes", {}))


def with_array(part: dict[str, Any]) -> dict[str, Any]:
    """A part as ``AnyToAny.chat`` takes it; a medium that is a caption alone is left as it is."""
    if part["type"] == "text" or "path" not in part:
        return part
    medium = load_medium(part["path"])
    if medium.modality != part["type"]:
        raise ValueError(f"{part['path']} is listed as {part['type']}, but it holds {medium.modality}")
    return {"type": medium.modality, "array": medium.array, "rate": medium.rate}


def compare(model: AnyToAny, questions: list[Question], replies: list[Reply]) -> list[Answer]:
    """Each reply beside its question, media compared by the encoder's embeddings.

    Media that are captions alone, and kinds that the model's encoder does not read, are not compared.
    """
    readable = [kind for kind in MODALITIES if kind in model.encoder.modalities]
    known = {kind: [p for q in questions for p in q.media if p["type"] == kind and "array" in p] for kind in readable}
    gallery = {kind: torch.stack([embedding_of(model, p) for p in parts]) for kind, parts in known.items() if parts}
    rows = {id(part): row for parts in known.values() for row, part in enumerate(parts)}
    return [
        Answer(question, reply, list(_similarities(model, question, reply, gallery, rows)))
        for question, reply in zip(questions, replies, strict=True)
    ]


@torch.no_grad()
def embedding_of(model: AnyToAny, part: dict[str, Any]) -> torch.Tensor:
    """Unit vector (E,) by which media are compared, whatever the core reads of them: the encoder's own embedding.

    Of a vision tower, which has no embedding of a whole image, its class token.
    """
    encoder = model.encoder
    batch = encoder.preprocess(part["type"], part["array"], part.get("rate"))[None].to(model.device)
    if model.core.config.visual:
        return functional.normalize(encoder.patches(part["type"], batch)[0][0].float(), dim=-1)
    return encoder.embed(part["type"], batch)[0]


def _similarities(
    model: AnyToAny, question: Question, reply: Reply, gallery: dict[str, torch.Tensor], rows: dict[int, int]
) -> Iterator[Similarity]:
    """For the media of a reply that were requested, kind by kind in order."""
    for kind, embeddings in gallery.items():
        expected = [part for part in question.media if part["type"] == kind]
        made = [medium for medium in reply.media if medium.modality == kind]
        for part, medium in zip(expected, made, strict=False):  # one too many or too few is a matter of routing
            if id(part) not in rows:
                continue
            cosines = embeddings @ embedding_of(model, {"type": kind, "array": medium.array, "rate": medium.rate})
            own = rows[id(part)]
            yield Similarity(kind, float(cosines[own]), bool(cosines.argmax() == own) if len(cosines) > 1 else None)


def measure(answers: list[Answer]) -> dict[str, Any]:
    """Routing, agreement of words, and similarity of media by kind; None where nothing was requested."""
    precision, recall = routing((answer.question.requested, answer.generated) for answer in answers)
    texts = [(answer.question.text, answer.reply.text) for answer in answers if answer.question.text]
    metrics: dict[str, Any] = {
        "questions": len(answers),
        "routing_precision": precision.share,
        "routing_recall": recall.share,
        "words_f1": mean(f1(*pair) for pair in texts),
        "words_same": mean(words(expected) == words(found) for expected, found in texts),
    }
    for kind in sorted({each.modality for answer in answers for each in answer.similarity}):
        found = [each for answer in answers for each in answer.similarity if each.modality == kind]
        nearest = Tally.of(each.nearest for each in found if each.nearest is not None)
        cosine = mean(each.cosine for each in found)
        metrics[kind] = {"cosine": cosine, "nearest": nearest.share, "made": len(found)}
    return metrics


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
    requested, made = sorted(answer.question.requested), sorted(answer.generated)
    messages = [*answer.question.messages, answer.reply.as_message()]
    return ShownConversation(" ".join(made) or "text", messages, requested == made, expected + similarity)
