"""Every suite of the field's own metrics on a tiny model of the real classes, through the command line."""

import base64
import io
import json
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from data.manifest import write_manifest
from data.media.loading import Medium
from data.media.saving import save_medium
from evaluation import SUITES
from evaluation.benchmarks import captioning, embeddings, needles, questions, routing
from evaluation.benchmarks.suite import Item
from evaluation.metrics import features
from evaluation.samples import SAMPLES, read_lines
from evaluation.statistics import Figures
from nextgpt_lite import Reply
from nextgpt_lite.cli import main


def text(words):
    return {"type": "text", "text": words}


def record(asked, answered, **meta):
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}], "meta": meta}


@pytest.fixture
def image_of(tmp_path):
    """Writes an image of a grey; returns its part."""

    def write(grey):
        path = tmp_path / f"{grey}.png"
        Image.fromarray(np.full((20, 20, 3), grey, np.uint8)).save(path)
        return {"type": "image", "path": str(path)}

    return write


def evaluate(suite, model, out, *more):
    assert main(["evaluate", suite, "--model", str(model), "--out", str(out), *map(str, more)]) == 0
    return json.loads((out / "results.json").read_text())["metrics"]


def test_captions_of_a_medium_are_all_its_references(tiny_folder, image_of, tmp_path, capsys):
    records = [record([image_of(grey), text("what is it?")], [text(f"a {word} field")])
               for grey, word in ((10, "dark"), (10, "black"), (200, "light"))]  # fmt: skip
    write_manifest(tmp_path / "captions.jsonl", records)
    metrics = evaluate("captioning", tiny_folder, tmp_path / "out", "--data", tmp_path / "captions.jsonl")
    assert metrics["n"]["cider_d"] == 2 and metrics["references"] == 1.5
    assert {"bleu_1", "bleu_4", "rouge_l", "cider_d"} <= set(metrics["intervals"])
    printed = capsys.readouterr().out
    assert "cider_d" in printed and "n 2" in printed and "95 % intervals" in printed
    assert len(list(read_lines(tmp_path / "out" / SAMPLES))) == 2
    assert "Replies, the worst first" in (tmp_path / "out/report.html").read_text()


def test_a_cut_run_of_a_benchmark_goes_on(tiny_folder, image_of, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.conversations.BATCH", 2)
    records = [record([image_of(60 * n), text("red or blue?")], [text("red")], answers=["red"] * 3) for n in range(4)]
    write_manifest(tmp_path / "vqa.jsonl", records)
    arguments = ("--data", tmp_path / "vqa.jsonl")
    whole = evaluate("vqa", tiny_folder, tmp_path / "a", *arguments)
    kept = (tmp_path / "a" / SAMPLES).read_text()
    (tmp_path / "a" / SAMPLES).write_text(kept[: len(kept) // 2])
    (tmp_path / "a/results.json").unlink()
    assert evaluate("vqa", tiny_folder, tmp_path / "a", *arguments) == whole


def items(*rows):
    return [Item([{"role": "user", "content": [text("?")]}], [answer], meta) for answer, meta in rows]


def test_right_answers_score_one_and_wrong_ones_nothing():
    asked = items(
        ("red", {"answers": ["red"] * 10, "answer_type": "other"}),
        ("2", {"answers": ["2"] * 10, "answer_type": "number"}),
    )
    scored = questions.score_vqa(asked, [Reply("Red."), Reply("three")])
    metrics = questions.vqa_figures(asked, scored).metrics()
    assert (metrics["accuracy"], metrics["accuracy.other"], metrics["accuracy.number"]) == (0.5, 1.0, 0.0)
    chosen = items(("A", {"choices": ["bell", "drum"], "answer": 0, "subject": "x"}),
                   ("B", {"choices": ["bell", "drum"], "answer": 1, "subject": "y"}))  # fmt: skip
    scored = questions.score_choices(chosen, [Reply("The answer is A."), Reply("I do not know")])
    metrics = questions.choice_figures(chosen, scored).metrics()
    assert (metrics["accuracy"], metrics["answered"], metrics["chance"], metrics["accuracy.y"]) == (0.5, 0.5, 0.5, 0.0)
    asked = items(("yes", {"category": "random"}), ("no", {"category": "random"}), ("no", {"category": "popular"}))
    scored = questions.score_yes_no(asked, [Reply("Yes."), Reply("Yes, there is."), Reply("No.")])
    metrics = questions.yes_no_figures(asked, scored).metrics()
    assert (
        metrics["accuracy"] == pytest.approx(2 / 3)
        and metrics["recall"] == 1
        and metrics["yes"] == pytest.approx(2 / 3)
    )
    assert metrics["accuracy.popular"] == 1
    perfect = captioning.score(items(("a red bell", {})), [Reply("A red bell.")])
    assert perfect[0].scores["cider_d"] == 0 or perfect[0].scores["rouge_l"] == pytest.approx(1)


def test_answers_and_choices_need_not_be_lists_of_words():
    asked = items(("red", {"answers": "red"}), ("4", {"answers": 4}))
    assert [each.scores["accuracy"] for each in questions.score_vqa(asked, [Reply("red"), Reply("4")])] == [1, 1]
    [chosen] = questions.score_choices(items(("B", {"choices": [4, 5], "answer": 1})), [Reply("5")])
    assert chosen.right["right"] and chosen.note == "chose 5"


def test_routing_counts_what_replies_call_for(tiny_folder, tmp_path):
    metrics = evaluate("routing", tiny_folder, tmp_path, "--count", 6, "--seed", 101)
    assert metrics["n"]["exact"] == 6 and 0 <= metrics["exact"] <= 1
    found = [routing.Routed(("image",), ("image",)), routing.Routed(("image",), ("audio",)), routing.Routed((), ())]
    metrics = routing.figures(found).metrics()
    assert (metrics["precision"], metrics["recall"], metrics["exact"]) == (0.5, 0.5, pytest.approx(2 / 3))
    assert "confused.image->audio" in metrics["intervals"]
    assert metrics["confused.image->audio"] == pytest.approx(1 / 3) and metrics["audio.precision"] == 0


def test_chance_is_the_share_of_right_candidates():
    found, right = Figures(), np.ones((3, 3), dtype=bool) & (np.arange(9).reshape(3, 3) != 2)
    embeddings._add(found, "a->b", np.eye(3), right)
    assert found.values["a->b.chance"] == pytest.approx(8 / 9)


def test_bleu_has_an_interval_around_itself_and_none_of_one_item():
    asked = items(("a red bell on a table", {}), ("a blue dog runs over a field", {}), ("two cats", {}))
    said = [Reply("a red bell on a table"), Reply("a blue dog in a field"), Reply("three cats")]
    metrics = captioning.figures(asked, captioning.score(asked, said)).metrics()
    low, high = metrics["intervals"]["bleu_1"]
    assert 0 <= low < metrics["bleu_1"] < high <= 1
    assert "bleu_1" not in captioning.figures(asked[:1], captioning.score(asked[:1], said[:1])).intervals


def test_retrieval_and_zero_shot_are_of_every_medium(tiny_folder, tmp_path):
    metrics = evaluate("retrieval", tiny_folder, tmp_path / "a", "--count", 8, "--seed", 101)
    for pair in ("image->audio", "video->image", "text of image->image", "image->text of image"):
        assert metrics["n"][f"{pair}.recall_1"] == 8 and metrics[f"{pair}.recall_10"] >= metrics[f"{pair}.recall_1"]
    metrics = evaluate("zero_shot", tiny_folder, tmp_path / "b", "--count", 8, "--seed", 101)
    assert {"image.thing.top_1", "image.colour.top_1", "audio.thing.top_1"} <= set(metrics)


def test_needles_are_asked_for_at_every_depth(tiny_folder, tmp_path, capsys):
    metrics = evaluate("needles", tiny_folder, tmp_path, "--count", 2, "--lengths", "1,3", "--seed", 101)
    assert metrics["n"]["right.3"] == 2 and {"right.1.image", "right.3.last third", "read"} <= set(metrics)
    asked = needles.needles(6, 6, 101)
    assert [item.meta["depth"] for item in asked] == ["first third"] * 2 + ["middle third"] * 2 + ["last third"] * 2
    assert [part["text"] for part in asked[2].messages[0]["content"] if part["type"] == "text"][-1].endswith("3?")
    assert [item.meta["depth"] for item in needles.needles(2, 2, 101)] == ["first third", "last third"]
    assert questions_right(needles.score(asked[:1], [Reply(f"This is a {asked[0].references[0]}.")]))
    assert main(["evaluate", "needles", "--lengths", "0", "--model", str(tiny_folder)]) == 2
    assert "numbers of media, at least 1, not 0" in capsys.readouterr().err


def questions_right(scored):
    return all(row.right["right"] for row in scored)


def test_retrieval_of_captions_goes_both_ways(tiny_folder, image_of, tmp_path):
    records = [record([image_of(grey), text("what is it?")], [text(word)]) for grey, word in ((5, "a"), (250, "b"))]
    write_manifest(tmp_path / "m.jsonl", records)
    metrics = evaluate("retrieval", tiny_folder, tmp_path / "out", "--data", tmp_path / "m.jsonl")
    assert metrics["image->text.recall_5"] == metrics["text->image.recall_5"] == 1
    assert embeddings.captioned_media(records[0])[0][1] == "a"


def test_generation_names_its_features(tiny_folder, tmp_path):
    metrics = evaluate("generation", tiny_folder, tmp_path, "--count", 2, "--seed", 101)
    assert metrics["image.frechet.descriptor_image"] > 0 and metrics["n"]["image.frechet.descriptor_image"] == 2
    assert {"audio.frechet.descriptor_audio", "video.kernel.descriptor_video"} <= set(metrics)
    assert json.loads((tmp_path / "results.json").read_text())["features"]["image"]["name"] == "descriptor_image"


def test_generation_leaves_out_media_that_its_features_do_not_read(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(features.READ, "oracle", ("image",))
    metrics = evaluate("generation", tiny_folder, tmp_path, "--count", 2, "--seed", 101, "--features", "oracle")
    assert {name.split(".")[0] for name in metrics} == {"image", "intervals", "n"}
    assert (
        main(["evaluate", "generation", "--count", "1", "--model", str(tiny_folder), "--out", str(tmp_path / "b")]) == 2
    )
    assert "Toybox at --count 1 holds no two captioned media" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suite", "sentence"),
    [
        ("captioning", "captioning needs --data MANIFEST.jsonl with records of one medium"),
        ("choices", 'holds nothing for the suite choices: expected questions with "choices"'),
        ("hallucination", "expected questions whose answer is yes or no"),
        ("zero_shot", "holds no media with attributes that this encoder reads"),
        ("generation", "holds no two captioned media"),
    ],
)
def test_data_that_lack_what_a_suite_needs_are_refused(suite, sentence, tiny_folder, tmp_path, capsys):
    write_manifest(tmp_path / "m.jsonl", [record([text("hello")], [text("a bell")])])
    data = [] if suite == "captioning" else ["--data", str(tmp_path / "m.jsonl")]
    assert main(["evaluate", suite, "--model", str(tiny_folder), *data, "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_every_suite_has_a_size():
    assert all(suite.full_count > 0 for suite in SUITES.values())


def test_media_of_any_rate_are_read(tiny_folder, tmp_path):
    """A sound at 44.1 kHz plays for as long in the report as it is."""
    wave = np.sin(np.arange(44_100) / 20).astype(np.float32)
    path = save_medium(Medium("audio", wave, 44_100.0), tmp_path / "tone.wav")
    sound = {"type": "audio", "path": str(path)}
    write_manifest(tmp_path / "m.jsonl", [record([sound, text("what is it?")], [text("a tone")])])
    assert main(["evaluate", "own_data", "--model", str(tiny_folder), "--data", str(tmp_path / "m.jsonl"),
                 "--out", str(tmp_path / "out")]) == 0  # fmt: skip
    page = (tmp_path / "out/report.html").read_text()
    encoded = re.search(r"data:audio/wav;base64,([^\"]+)", page)[1]
    played = soundfile.info(io.BytesIO(base64.b64decode(encoded)))
    assert played.duration == pytest.approx(1.0, abs=0.05)
