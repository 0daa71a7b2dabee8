"""Conversations of one's own: the suite ``own_data``, and ``any_to_any`` where it is given data.

    nextgpt-lite evaluate own_data --data MANIFEST.jsonl --count 100 [--judge FOLDER]

Every turn of the assistant in the manifest is a question: the model gets the messages before it, as they stand, and
its reply is compared with the manifest's. No oracle knows what these media show, so a medium is judged by the
encoder: by the cosine to the manifest's own medium, and by whether that one, of all media of its kind in the
manifest, is the nearest. Judges that were trained on files like these (evaluation.judges) say more, see
evaluation.judging.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional

from data.manifest import MEDIA, Record, read_manifest
from data.media_intake import load_medium
from evaluation.conversations import Progress, produced
from evaluation.judges import Judge
from evaluation.judging import judged
from evaluation.report import Talk, flat, number, own_data_html, write_aside, write_results
from evaluation.scoring import Tally, routing
from nextgpt_lite import AnyToAny, Reply

SHOWN = 60


@dataclass
class Question:
    """Messages up to a turn of the assistant, that turn's words and media, what the record says of its media."""

    messages: list[dict]
    text: str
    media: list[dict]
    attributes: dict = field(default_factory=dict)


@dataclass
class Answer:
    """What came back. ``similarity`` pairs each medium with the cosine to the manifest's and whether it is nearest."""

    question: Question
    reply: Reply
    similarity: list[tuple[str, float, bool | None]]


def evaluate_own_data(
    model: AnyToAny,
    manifest: Path,
    count: int,
    seed: int,
    out: Path,
    progress: Progress | None = None,
    judges: dict[str, Judge] | None = None,
) -> dict:
    """Run ``count`` conversations, evenly spread over ``manifest``; write results.json and report.html into ``out``.

    Raises data.manifest.FormatError or data.media_intake.MediaError at the first record that cannot be read, before
    anything is written.
    """
    records = evenly(list(read_manifest(manifest)), count)
    questions = [question for record in records for question in questions_of(record)]
    if not questions:
        raise ValueError(f"{manifest} holds no turn of an assistant: there is nothing to compare replies with")
    replies = []
    for index, question in enumerate(questions):
        replies.append(model.chat(question.messages, seed=seed + index))
        if progress:
            progress("conversations", index + 1, len(questions))
    answers = compare(model, questions, replies)
    results = {
        "suite": "own_data",
        "model": {"hash": model.hash},
        "data": {"hash": hashlib.sha256(manifest.read_bytes()).hexdigest()},
        "seed": seed,
        "count": len(records),
        "metrics": measure(answers) | ({"judged": judge_all(answers, judges)} if judges else {}),
    }
    write_results(results, out)
    write_aside(out / "report.html", own_data_html(results, [talk_of(answer) for answer in answers[:SHOWN]]))
    return results


def evenly(records: list[Record], count: int) -> list[Record]:
    """At most ``count`` records at even distances: manifests are often in order of what they show."""
    return [records[i * len(records) // count] for i in range(count)] if count < len(records) else records


def judge_all(answers: list[Answer], judges: dict[str, Judge]) -> dict:
    """The judges' figures, see evaluation.judging."""
    asked = (([p["type"] for p in a.question.media], a) for a in answers)
    return judged(((a.question.messages, kinds, a.question.attributes, a.reply) for kinds, a in asked), judges)


def own_data_text(results: dict) -> str:
    """What the command prints: one figure a line."""
    lines = [f"suite {results['suite']}, {results['count']} conversations, seed {results['seed']}", ""]
    return "\n".join(lines + [f"{name:<40}{number(value):>8}" for name, value in flat(results["metrics"])])


def questions_of(record: Record) -> Iterator[Question]:
    """One question for each turn of the assistant in a record, its media read from their files."""
    messages = [{**m, "content": [with_array(part) for part in m["content"]]} for m in record["messages"]]
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            words = " ".join(part["text"] for part in message["content"] if part["type"] == "text")
            media = [part for part in message["content"] if part["type"] in MEDIA]
            yield Question(messages[:index], words, media, record["meta"].get("attributes", {}))


def with_array(part: dict) -> dict:
    """A part as ``AnyToAny.chat`` takes it; a medium that is a caption alone stays one."""
    if part["type"] == "text" or "path" not in part:
        return part
    medium = load_medium(part["path"])
    if medium.modality != part["type"]:
        raise ValueError(f"{part['path']} is listed as {part['type']}, but it holds {medium.modality}")
    return {"type": medium.modality, "array": medium.array, "rate": medium.rate}


def compare(model: AnyToAny, questions: list[Question], replies: list[Reply]) -> list[Answer]:
    """Each reply beside its question, media by the encoder's embeddings.

    Media that are captions alone, and kinds that the model's encoder does not read, are compared with nothing.
    """
    known = {kind: [part for q in questions for part in q.media if part["type"] == kind] for kind in seen_by(model)}
    known = {kind: [part for part in parts if "array" in part] for kind, parts in known.items()}
    gallery = {k: torch.stack([likeness(model, part) for part in parts]) for k, parts in known.items() if parts}
    place = {id(part): row for parts in known.values() for row, part in enumerate(parts)}
    return [Answer(q, reply, list(_similarities(model, q, reply, gallery, place))) for q, reply in zip(
        questions, replies, strict=True)]  # fmt: skip


def seen_by(model: AnyToAny) -> tuple[str, ...]:
    """The kinds of media that a model's encoder reads."""
    modalities = getattr(model.encoder, "modalities", ("image",))  # CLIP's tower reads pictures alone
    return tuple(kind for kind in MEDIA if kind in modalities)


@torch.no_grad()
def likeness(model: AnyToAny, part: dict) -> torch.Tensor:
    """Unit vector (E,) by which media are compared, whatever the core reads of them: the encoder's own embedding.

    Of a vision tower, which has no embedding of a whole picture, its class token.
    """
    encoder = model.encoder
    batch = encoder.preprocess(part["type"], part["array"], part.get("rate"))[None].to(model.device)
    if model.core.config.visual:
        return functional.normalize(encoder.patches(part["type"], batch)[0][0].float(), dim=-1)
    return encoder.embed(part["type"], batch)[0]


def _similarities(
    model: AnyToAny, question: Question, reply: Reply, gallery: dict[str, torch.Tensor], place: dict[int, int]
) -> Iterator[tuple[str, float, bool | None]]:
    """For the media of a reply that were asked for, kind by kind in order."""
    for kind, embeddings in gallery.items():
        wanted = [part for part in question.media if part["type"] == kind]
        made = [medium for medium in reply.media if medium.modality == kind]
        for part, medium in zip(wanted, made, strict=False):  # one too many or too few is a matter of routing
            if id(part) not in place:
                continue
            cosines = embeddings @ likeness(model, {"type": kind, "array": medium.array, "rate": medium.rate})
            own = place[id(part)]
            yield kind, float(cosines[own]), bool(cosines.argmax() == own) if len(cosines) > 1 else None


def measure(answers: list[Answer]) -> dict:
    """Routing, agreement of words, and likeness of media by kind; None where nothing was asked for."""
    asked = [tuple(part["type"] for part in answer.question.media) for answer in answers]
    precision, recall = routing(zip(asked, (produced(answer.reply) for answer in answers), strict=True))
    metrics: dict = {
        "questions": len(answers),
        "routing_precision": precision.share,
        "routing_recall": recall.share,
        "words_f1": mean(f1(a.question.text, a.reply.text) for a in answers if a.question.text),
        "words_same": mean(words(a.question.text) == words(a.reply.text) for a in answers if a.question.text),
    }
    for kind in sorted({kind for answer in answers for kind, _, _ in answer.similarity}):
        found = [(cosine, first) for answer in answers for k, cosine, first in answer.similarity if k == kind]
        nearest = Tally()
        for _, first in found:
            if first is not None:
                nearest.add(first)
        metrics[kind] = {"cosine": mean(cosine for cosine, _ in found), "nearest": nearest.share, "made": len(found)}
    return metrics


def words(text: str) -> list[str]:
    """Words in lower case; Chinese characters count as words."""
    return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower())


def f1(wanted: str, found: str) -> float:
    """Harmonic mean of precision and recall of the words of ``found`` among those of ``wanted``."""
    ours, theirs = Counter(words(found)), Counter(words(wanted))
    return 2 * (ours & theirs).total() / max(1, ours.total() + theirs.total())


def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    listed = [float(value) for value in values]
    return sum(listed) / len(listed) if listed else None


def talk_of(answer: Answer) -> Talk:
    """An answer as the report shows it: what was asked, what came back, what the manifest has."""
    wanted = " ".join([answer.question.text, *(f"[{part['type']}]" for part in answer.question.media)])
    likeness = "".join(f"; {kind} cosine {cosine:.2f}" for kind, cosine, _ in answer.similarity)
    asked, made = sorted(part["type"] for part in answer.question.media), sorted(produced(answer.reply))
    messages = [*answer.question.messages, answer.reply.as_message()]
    return Talk(" ".join(made) or "text", messages, asked == made, wanted + likeness)
