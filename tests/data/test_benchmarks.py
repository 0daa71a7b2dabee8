"""Readers of published benchmarks: small files of exactly their layouts in, records with what scoring needs out."""

import json

import numpy as np
import pytest
from PIL import Image

from data.formats import reader
from data.manifest import FormatError


def write(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = isinstance(value, list) and name.endswith(".jsonl")
    path.write_text("\n".join(map(json.dumps, value)) if lines else json.dumps(value), encoding="utf-8")
    return path


def picture(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


def one(name, source, **options):
    [found] = list(reader(name)(source, **options))
    assert not found.problem, found.problem
    return found.record


def said(record, number):
    return [part.get("text") or part.get("path") for part in record["messages"][number]["content"]]


def test_vqav2_joins_questions_and_all_answers(tmp_path):
    picture(tmp_path, "COCO_val2014_000000000042.jpg")
    write(tmp_path, "v2_questions.json", {"questions": [{"question_id": 42001, "image_id": 42, "question": "Red?"}]})
    given = [{"answer": "yes", "answer_id": n, "answer_confidence": "yes"} for n in range(9)] + [{"answer": "no"}]
    annotation = {"question_id": 42001, "image_id": 42, "answer_type": "yes/no", "answers": given}
    source = write(tmp_path, "v2_annotations.json", {"annotations": [annotation]})
    record = one("vqav2", source)
    assert said(record, 0) == ["COCO_val2014_000000000042.jpg", "Red?"] and said(record, 1) == ["yes"]
    assert record["meta"] == {"question_id": 42001, "answers": ["yes"] * 9 + ["no"], "answer_type": "yes/no"}
    (tmp_path / "v2_questions.json").rename(tmp_path / "other.json")
    with pytest.raises(FormatError, match="holds 0 files of questions: name one by --set questions=FILE"):
        list(reader("vqav2")(source))
    assert one("vqav2", source, questions=str(tmp_path / "other.json"))["messages"] == record["messages"]


def test_scienceqa_lists_its_choices(tmp_path):
    picture(tmp_path, "test/7/image.png")
    problem = {"question": "Which is it?", "choices": ["bell", "drum"], "answer": 1, "hint": "Look.", "split": "test",
               "image": "image.png", "subject": "natural science"}  # fmt: skip
    other = {**problem, "image": None, "hint": "", "split": "train"}
    source = write(tmp_path, "problems.json", {"7": problem, "8": other})
    record = one("scienceqa", source)
    assert said(record, 0)[0] == "test/7/image.png" and said(record, 1) == ["B"]
    assert said(record, 0)[1].startswith("Look.\nWhich is it?\n(A) bell\n(B) drum\n")
    assert record["meta"]["choices"] == ["bell", "drum"] and record["meta"]["answer"] == 1
    assert len(said(one("scienceqa", source, split="train"), 0)) == 1
    with pytest.raises(FormatError, match="no problem of the split 'val'"):
        list(reader("scienceqa")(source, split="val"))


def test_pope_is_of_the_category_in_its_name(tmp_path):
    entry = {"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"}
    for name in ("random", "adversarial"):
        write(tmp_path, f"coco_pope_{name}.jsonl", [entry])
    found = [each.record for each in reader("pope")(tmp_path)]
    assert [record["meta"]["category"] for record in found] == ["adversarial", "random"]
    assert said(found[0], 0) == ["a.jpg", entry["text"]] and said(found[0], 1) == ["yes"]
    [bad] = list(reader("pope")(write(tmp_path, "x/pope.jsonl", [{**entry, "label": "maybe"}])))
    assert '"label" must be yes or no' in bad.problem


def test_omnibench_asks_about_an_image_and_a_sound(tmp_path):
    entry = {"index": 3, "question": "Who?", "options": ["a cat", "a dog", "a bee", "a bell"], "answer": "a dog",
             "audio_path": "mp3/3.mp3", "image_path": "image/3.png", "task type": "Identity"}  # fmt: skip
    record = one("omnibench", write(tmp_path, "omni.jsonl", [entry]))
    assert said(record, 0)[:2] == ["image/3.png", "mp3/3.mp3"] and said(record, 1) == ["B"]
    assert record["meta"]["category"] == "Identity" and record["meta"]["answer"] == 1
    [bad] = list(reader("omnibench")(write(tmp_path, "bad.jsonl", [{**entry, "answer": "a fox"}])))
    assert "is not among the options" in bad.problem


def test_mmie_interleaves_both_sides(tmp_path):
    asked = [{"text": "First", "image": "a.png"}, {"text": "then?", "image": None}]
    entry = {"id": "x1", "category": "story", "question": asked, "answer": [{"text": "A bell.", "image": "b.png"}]}
    record = one("mmie", write(tmp_path, "data.json", [entry]))
    assert said(record, 0) == ["First", "a.png", "then?"] and said(record, 1) == ["A bell.", "b.png"]
    assert record["messages"][1]["content"][1]["caption"] == "A bell." and record["meta"]["id"] == "x1"


def test_geneval_says_what_an_image_must_hold(tmp_path):
    include = [{"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["left of", 0]}]
    entry = {"tag": "position", "include": include, "prompt": "a photo of a cat left of a dog"}
    record = one("geneval", write(tmp_path, "evaluation_metadata.jsonl", [entry]))
    assert record["meta"] == {"category": "position", "include": entry["include"], "exclude": []}
    assert record["messages"][1]["content"] == [{"type": "image", "caption": entry["prompt"]}]


def test_msrvtt_has_many_sentences_a_video(tmp_path):
    (tmp_path / "video0.mp4").write_bytes(b"x")
    videos = [{"video_id": "video0", "split": "test"}, {"video_id": "video1", "split": "train"}]
    said_of = [("video0", "bell"), ("video0", "drum"), ("video1", "cat")]
    sentences = [{"video_id": name, "caption": f"a {word}", "sen_id": n} for n, (name, word) in enumerate(said_of)]
    source = write(tmp_path, "videodatainfo.json", {"videos": videos, "sentences": sentences})
    found = [each.record for each in reader("msrvtt")(source, split="test")]
    assert [said(record, 1) for record in found] == [["a bell"], ["a drum"]]
    assert all(record["messages"][0]["content"][0]["path"] == "video0.mp4" for record in found)
