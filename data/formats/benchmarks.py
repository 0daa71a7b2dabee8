"""Published benchmarks as records: a question with its media, the right answer, and in ``meta`` what scoring needs.

    VQAv2 (1612.00837)       {"annotations": [{"question_id", "image_id", "answers": [{"answer"}], ...}]} beside
                             {"questions": [{"question_id", "image_id", "question"}]}
    ScienceQA (2209.09513)   {"ID": {"question", "choices", "answer": 0, "image": "image.png" | null, "split", ...}}
    POPE (2305.10355)        lines {"question_id", "image", "text", "label": "yes" | "no"}
    OmniBench (2409.15272)   {"index", "question", "options", "answer", "audio_path", "image_path", "task type"}
    MMIE (2410.10139)        {"id", "question": [{"text", "image"}], "answer": [{"text", "image"}]}
    GenEval (2310.11513)     lines {"tag", "include": [{"class", "count", "color", "position"}], "prompt"}

``meta`` holds "answers" (all that people gave), or "choices" and the number of the right one as "answer", or "include"
and "exclude" of a generated image; and "category", "subject" or "answer_type" where figures are given by them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.formats.captions import first_file
from data.formats.conversations import medium
from data.formats.sources import json_entries, json_object, json_reader, text_of
from data.manifest import BadRecord, FormatError, Record, shown
from data.records import ParsedRecord, parse_records

LETTERS = "ABCDEFGHIJ"
IMAGES = (".jpg", ".png", ".jpeg", ".webp")


def vqav2_records(source: Path, *, media: Path | None = None, questions: str = "") -> Iterator[ParsedRecord]:
    """One record a question; the reply is the answer that most people gave.

    ``source`` is the file of annotations, ``questions`` that of questions (default: the only one beside it with
    "questions" in its name). An image is named as in COCO, "COCO_val2014_000000000042.jpg", or by its number.
    """
    folder = source.parent if media is None else media
    asked = json_object(Path(questions) if questions else _beside(source, "questions"), "questions")["questions"]
    known = {each.get("question_id"): each for each in asked if isinstance(each, dict)}

    def parse(entry: Any) -> Record:
        number = entry["question_id"]
        if number not in known:
            raise BadRecord(f"question_id {shown(number)} is not among the questions")
        image, answers = entry["image_id"], [each["answer"] for each in entry["answers"]]
        names = [f"COCO_{split}_{image:012d}" for split in ("val2014", "train2014", "test2015")]
        path = first_file(folder, [*names, f"{image:012d}", str(image)], IMAGES)
        best = entry.get("multiple_choice_answer") or max(answers, key=answers.count)
        meta = {"question_id": number, "answers": answers, "answer_type": entry.get("answer_type")}
        return _asked([medium("image", path)], text_of(known[number], "question"), best, meta)

    annotations = json_object(source, "annotations")["annotations"]
    return parse_records(((f"{source}, annotation {n}", each) for n, each in enumerate(annotations, 1)), parse)


def scienceqa_records(source: Path, *, media: Path | None = None, split: str = "test") -> Iterator[ParsedRecord]:
    """One record a problem of ``split`` ("" = all), its choices as letters; the reply is the letter of the right one.

    ``source`` is ``problems.json``; an image lies at ``SPLIT/ID/image.png``.
    """
    folder = source.parent if media is None else media
    problems = json_object(source)
    if not isinstance(problems, dict):
        raise FormatError(f"{source}: expected an object of problems")
    chosen = {key: each for key, each in problems.items() if not split or each.get("split") == split}
    if not chosen:
        raise FormatError(f"{source}: no problem of the split {split!r}")

    def parse(entry: tuple[str, Any]) -> Record:
        key, problem = entry
        place = Path(str(problem.get("split", split))) / key / str(problem.get("image"))
        parts = []
        if problem.get("image"):
            parts = [medium("image", first_file(folder, [place.with_suffix("").as_posix()], (place.suffix,)))]
        hint = text_of(problem, "hint", empty=True)
        question = f"{hint}\n{text_of(problem, 'question')}" if hint else text_of(problem, "question")
        meta = {"id": key, "subject": problem.get("subject"), "category": problem.get("category")}
        return _with_choices(parts, question, problem["choices"], problem["answer"], meta)

    return parse_records(((f"{source}, problem {key}", (key, each)) for key, each in chosen.items()), parse)


def pope_records(source: Path, *, media: Path | None = None) -> Iterator[ParsedRecord]:
    """One record a question of yes or no; "category" (random, popular, adversarial) is read in the name of its file."""

    def parse(entry: dict[str, Any]) -> Record:
        label = text_of(entry, "label").lower()
        if label not in ("yes", "no"):
            raise BadRecord(f'"label" must be yes or no, not {shown(label)}')
        meta = {"question_id": entry.get("question_id"), "category": entry["category"]}
        return _asked([medium("image", text_of(entry, "image"))], text_of(entry, "text"), label, meta)

    def entries() -> Iterator[tuple[str, Any]]:
        for path in sorted(source.glob("*.json*")) if source.is_dir() else [source]:
            category = next((name for name in ("random", "popular", "adversarial") if name in path.stem), path.stem)
            for place, entry in json_entries(path):
                yield place, {**entry, "category": category} if isinstance(entry, dict) else entry

    return parse_records(entries(), parse)


@json_reader
def omnibench_records(entry: dict[str, Any]) -> Record:
    """One record a question about an image and a sound together, its options as letters."""
    parts = [
        medium(modality, entry[f"{modality}_path"]) for modality in ("image", "audio") if entry.get(f"{modality}_path")
    ]
    options, answer = entry["options"], text_of(entry, "answer")
    if answer not in options:
        raise BadRecord(f"the answer {shown(answer)} is not among the options")
    meta = {"id": entry.get("index"), "category": entry.get("task type"), "audio_type": entry.get("audio type")}
    return _with_choices(parts, text_of(entry, "question"), options, options.index(answer), meta)


@json_reader
def mmie_records(entry: dict[str, Any]) -> Record:
    """One record an interleaved question and its interleaved answer; an image of the answer has the words before it as
    its caption."""
    asked, answered = (_interleaved(entry.get(key), key) for key in ("question", "answer"))
    caption = ""
    for part in answered:
        caption = part.get("text", caption)
        if part["type"] == "image":
            part["caption"] = caption or "an image"
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"messages": messages, "meta": {"id": entry.get("id"), "category": entry.get("category")}}


def geneval_records(source: Path, *, media: Path | None = None) -> Iterator[ParsedRecord]:
    """One record a prompt: an image without a file, of which ``meta`` says what it must hold and what not."""

    def parse(line: Any) -> Record:
        prompt, include = text_of(line, "prompt"), line.get("include")
        if not isinstance(include, list) or not all(isinstance(each, dict) and each.get("class") for each in include):
            raise BadRecord(f'expected a list "include" of objects with a "class", not {shown(include)}')
        meta = {"category": line.get("tag"), "include": include, "exclude": line.get("exclude", [])}
        reply = [{"type": "image", "caption": prompt}]
        messages = [{"role": "user", "content": _words(prompt)}, {"role": "assistant", "content": reply}]
        return {"messages": messages, "meta": meta}

    return parse_records(json_entries(source), parse)


def _asked(parts: list[dict[str, Any]], question: str, answer: str, meta: dict[str, Any]) -> Record:
    messages = [
        {"role": "user", "content": [*parts, *_words(question)]},
        {"role": "assistant", "content": _words(answer)},
    ]
    return {"messages": messages, "meta": meta}


def _with_choices(
    parts: list[dict[str, Any]], question: str, choices: Any, answer: Any, meta: dict[str, Any]
) -> Record:
    """A question with its choices below it, a letter each."""
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise BadRecord(f"expected 2 to {len(LETTERS)} choices, not {shown(choices)}")
    if not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise BadRecord(f"the answer {shown(answer)} is no number of a choice")
    listed = "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    text = f"{question}\n{listed}\nAnswer with the letter of the right choice."
    known = {**meta, "choices": [str(each) for each in choices], "answer": answer}
    return _asked(parts, text, LETTERS[answer], known)


def _interleaved(listed: Any, key: str) -> list[dict[str, Any]]:
    """[{"text", "image"}] as parts."""
    if not isinstance(listed, list) or not listed:
        raise BadRecord(f'expected a list "{key}" of texts and images, not {shown(listed)}')
    parts: list[dict[str, Any]] = []
    for each in listed:
        parts += _words(text_of(each, "text", empty=True))
        parts += [medium("image", each["image"])] if each.get("image") else []
    if not parts:
        raise BadRecord(f'"{key}" holds neither text nor an image')
    return parts


def _words(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _beside(source: Path, word: str) -> Path:
    """The one JSON file beside ``source`` with a word in its name. FormatError where there is none, or several."""
    found = [path for path in sorted(source.parent.glob("*.json")) if word in path.name.lower() and path != source]
    if len(found) != 1:
        raise FormatError(f"{source.parent} holds {len(found)} files of {word}: name one by --set {word}=FILE")
    return found[0]
