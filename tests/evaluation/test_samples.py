"""What a model answers is kept: a run that was cut goes on, parts make a whole, runs are compared case by case."""

import csv
import io
import json
import shutil

import numpy as np
import pytest

from data.run_files import read_lines
from evaluation.conversations import ConversationRun
from evaluation.own_data import Question
from evaluation.samples import MEDIA, PLAN, SAMPLES, VERDICTS, Samples, cases_hash, remove_run, write_verdicts
from nextgpt_lite.any_to_any import Reply, ReplyMedium
from nextgpt_lite.cli import main
from tests.evaluation.test_own_data import manifest  # noqa: F401  # a fixture

FIGURES = ("metrics", "seed", "count", "model", "data")


def evaluate(model, manifest, out, *more):  # noqa: F811
    words = ["evaluate", "own_data", "--model", str(model), "--data", str(manifest), "--out", str(out)]
    assert main([*words, *more]) == 0
    return {name: value for name, value in json.loads((out / "results.json").read_text()).items() if name in FIGURES}


def lines(folder):
    return list(read_lines(folder / SAMPLES))


def answers(folder):
    """Case -> words and hashes of media of its replies."""
    return {
        entry["case"]: [(each["text"], [medium["sha256"] for medium in each["media"]]) for each in entry["replies"]]
        for entry in lines(folder)
    }


@pytest.mark.parametrize("left", [0, 1, 1.5])
def test_a_run_that_was_cut_goes_on_with_the_same_figures(left, tiny_folder, manifest, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("evaluation.conversations.BATCH", 2)
    whole = evaluate(tiny_folder, manifest, tmp_path / "a")
    kept = (tmp_path / "a" / SAMPLES).read_text()
    assert len(lines(tmp_path / "a")) == 4
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / SAMPLES).write_text(kept[: round(len(kept) * left / 2)])
    (tmp_path / "b" / "results.json").unlink()
    assert evaluate(tiny_folder, manifest, tmp_path / "b") == whole
    assert answers(tmp_path / "a") == answers(tmp_path / "b")


def test_a_finished_run_is_judged_again_without_the_model_answering(tiny_folder, manifest, tmp_path, monkeypatch):  # noqa: F811
    whole = evaluate(tiny_folder, manifest, tmp_path / "a")
    monkeypatch.setattr("evaluation.conversations.answer", None)  # to be called is an error
    assert evaluate(tiny_folder, manifest, tmp_path / "a") == whole


def test_processes_answer_parts_of_a_run(tiny_folder, manifest, tmp_path):  # noqa: F811
    whole = evaluate(tiny_folder, manifest, tmp_path / "a")
    assert evaluate(tiny_folder, manifest, tmp_path / "b", "--processes", "2") == whole


def test_a_run_of_something_else_is_refused_and_stays(tiny_folder, manifest, tmp_path, capsys):  # noqa: F811
    evaluate(tiny_folder, manifest, tmp_path / "a")
    before = (tmp_path / "a" / SAMPLES).read_bytes()
    words = ["evaluate", "own_data", "--model", str(tiny_folder), "--data", str(manifest), "--out", str(tmp_path / "a")]
    assert main([*words, "--seed", "4"]) == 2
    said = capsys.readouterr().err
    assert "is not" in said and "holds another run: give another --out, or --overwrite" in said
    assert (tmp_path / "a" / SAMPLES).read_bytes() == before
    assert main([*words, "--seed", "4", "--overwrite"]) == 0
    assert json.loads((tmp_path / "a" / PLAN).read_text())["seed"] == 4


PLANNED = {"suite": "s", "model": {"hash": "m"}}


def conversation(number, text, array=None, position=None):
    question = Question([{"role": "user", "content": [{"type": "text", "text": f"question {number}"}]}], "", [])
    media = [] if array is None else [ReplyMedium("image", array, None, 4, 0.25, position)]
    return ConversationRun(question, replies=[Reply(text, media, {"text": 0.5}, 1, 2)])


def test_a_reply_comes_back_as_it_was(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Samples(tmp_path, PLANNED).add({3: conversation(3, "你好\n", array, position=3)})
    [reply] = Samples(tmp_path, PLANNED).replies(3)
    assert (reply.text, reply.seconds, reply.repaired, reply.dropped_turns) == ("你好\n", {"text": 0.5}, 1, 2)
    [made] = reply.media
    assert (made.modality, made.rate, made.signal_tokens, made.seconds, made.position) == ("image", None, 4, 0.25, 3)
    np.testing.assert_array_equal(made.array, array)
    assert Samples(tmp_path, PLANNED).replies(2) is None


@pytest.mark.parametrize("damage", ["halved", "missing", "swapped"])
def test_damaged_media_are_said(damage, tmp_path):
    kept = Samples(tmp_path, PLANNED)
    kept.add({number: conversation(number, "a", np.full((9, 9, 3), number, np.uint8)) for number in (0, 1)})
    one, other = sorted((tmp_path / MEDIA).iterdir())
    if damage == "halved":
        one.write_bytes(one.read_bytes()[:90])
    elif damage == "missing":
        one.unlink()
    else:
        shutil.copy(other, one)
    with pytest.raises(ValueError, match="a medium of a sample, "):
        [kept.replies(number) for number in (0, 1)]


def test_a_line_that_was_cut_is_left_out_and_written_behind(tmp_path):
    kept = Samples(tmp_path, PLANNED)
    kept.add({0: conversation(0, "a")})
    with (tmp_path / SAMPLES).open("a") as file:
        file.write('{"case": 1, "repl')
    kept = Samples(tmp_path, PLANNED)
    assert kept.replies(1) is None
    kept.add({1: conversation(1, "b")})
    assert [Samples(tmp_path, PLANNED).replies(number)[0].text for number in (0, 1)] == ["a", "b"]


def test_the_hash_of_cases_covers_words_media_seeds_and_history():
    def one(text="a", value=1, seed=0, before="b"):
        content = [{"type": "text", "text": text}, {"type": "image", "array": np.full((2, 2, 3), value, np.uint8)}]
        said = [{"role": "user", "content": [{"type": "text", "text": before}]}, {"role": "user", "content": content}]
        return Question(said, "", [], seed=seed)

    hashes = {cases_hash(cases) for cases in ([one()], [one("c")], [one(value=2)], [one(seed=1)], [one(before="c")],
                                              [one(), one()])}  # fmt: skip
    assert len(hashes) == 6 and cases_hash([one()]) in hashes


def judged(folder, texts, right, model="m"):
    folder.mkdir()
    kept = Samples(folder, {"suite": "s", "model": {"hash": model}, "cases": "c"})
    kept.add({number: conversation(number, text, np.zeros((4, 4, 3), np.uint8)) for number, text in enumerate(texts)})
    write_verdicts(folder, [{"group": "free", "right": own} for own in right])
    return folder


def test_runs_are_compared_case_by_case(tmp_path, capsys):
    before = [{"thing": n % 2 == 0, "routed": True} for n in range(20)]
    after = [{"thing": n % 2 == 0 or n < 10, "routed": n != 19} for n in range(20)]
    folders = [judged(tmp_path / name, [f"{name} {n}" for n in range(20)], right, name)
               for name, right in (("before", before), ("after", after))]  # fmt: skip
    words = ["compare", *map(str, folders)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    [thing, routed] = json.loads((tmp_path / "out/compare.json").read_text())
    assert (thing["name"], thing["n"], thing["gained"], thing["lost"]) == ("free.thing", 20, 5, 0)
    assert thing["difference"] == pytest.approx(0.25) and thing["p"] == pytest.approx(2 / 2**5)
    assert (routed["gained"], routed["lost"]) == (0, 1)
    page = (tmp_path / "out/compare.html").read_text()
    assert "after 9" in page and "before 9" in page and "question 9" in page and "after 12" not in page
    capsys.readouterr()
    assert main([*words, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == ["free.thing", "free.routed"] and float(rows[0]["share"]) == 0.75
    assert main([*words, "--format", "latex"]) == 0
    assert r"free.thing & 20 & 0.500 & 0.750 & +0.250" in capsys.readouterr().out


def test_what_cannot_be_compared_is_one_sentence(tmp_path, capsys):
    one = judged(tmp_path / "a", ["a"], [{"thing": True}])
    other = judged(tmp_path / "b", ["a"], [{"thing": True}])
    (other / PLAN).write_text(json.dumps({"suite": "s", "model": {"hash": "m"}, "cases": "d"}))
    (tmp_path / "empty").mkdir()
    unjudged = judged(tmp_path / "c", ["a"], [{"thing": True}])
    (unjudged / VERDICTS).unlink()
    for folders, sentence in (([one], "give two runs or more"), ([one, other], "are runs of other cases"),
                              ([one, tmp_path / "empty"], "holds no run of nextgpt-lite evaluate"),
                              ([one, unjudged], "which ends the run")):  # fmt: skip
        assert main(["compare", *map(str, folders)]) == 2
        assert sentence in capsys.readouterr().err


def test_a_run_without_conversations_has_no_parts(tmp_path, capsys):
    assert main(["evaluate", "drawing", "--processes", "2", "--out", str(tmp_path)]) == 2
    assert "conversations of drawing have no parts" in capsys.readouterr().err


def test_only_a_run_is_removed(tmp_path):
    judged(tmp_path / "a", ["a"], [{"thing": True}])
    (tmp_path / "a" / "notes.txt").write_text("mine")
    remove_run(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes.txt"]
