"""What is read of a run: of one that has ended, goes on, was killed, was resumed, and of files that are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.run_files import RUN_LOCK, RUN_LOG, read_lines
from demo.runs.charts import charts_of, figure, sparkline, thinned, ticks
from demo.runs.evaluation import Evaluations
from demo.runs.folders import RunFolders
from demo.runs.training import TrainingLogs, TrainingRun

ROOT = Path(__file__).parents[3]


def found(folder, name):
    return next(run for run in RunFolders([folder]).found() if run.name == name)


def read(folder, name):
    return TrainingLogs().read(found(folder, name))


def test_runs_are_found_below_a_folder_or_are_that_folder(finished):
    assert [run.name for run in RunFolders([finished]).found()] == ["own", "stages/tuned", "turns"]
    assert [run.name for run in RunFolders([finished / "turns"]).found()] == ["turns"]
    with pytest.raises(ValueError, match="nothing is no folder"):
        RunFolders([finished / "nothing"])


def test_a_training_that_has_ended(finished):
    run = read(finished, "stages/tuned")
    assert (run.state, run.title, run.step, run.steps) == ("ended", "instruction_tuning", 4, 4)
    assert [step for step, _ in run.curves["loss"]] == [2, 4]
    assert [step for step, _ in run.curves["validation_loss"]] == [2, 4]
    assert run.peak_memory and run.last("samples_per_second") and run.recipe["learning_rates"]["lora"] > 0
    assert [[step for step, _ in said] for said in run.conversations] == [[4, 2]] * len(run.conversations)
    logged = [line["replies"] for line in read_lines(finished / "stages/tuned" / RUN_LOG) if "replies" in line]
    assert {said[0][1]["reply"] for said in run.conversations} == {each["reply"] for each in logged[-1]}


def test_each_figure_has_a_chart(finished):
    charts = dict(charts_of(read(finished, "stages/tuned")))
    assert charts.keys() == {"losses", "rates", "speed"} and charts["losses"][0].name == "loss"
    loss = charts["losses"][0]
    assert [line.name for line in loss.lines] == ["training", "validation"] and len(loss.rows) > 1
    drawn = [float(number) for line in loss.lines for number in line.points.replace(",", " ").split()]
    assert all(0 <= number <= loss.width for number in drawn)


def test_an_evaluation_that_has_ended(finished):
    run = Evaluations().read(found(finished, "own"))
    assert (run.state, run.title, run.answered, run.total) == ("ended", "own_data", 2, 2)
    assert run.report == "report.html" and run.facts["seed"] == "0" and len(run.newest) == 2
    assert sum(group.cases for group in run.groups) == 2 and run.newest[0].turns[0][0]


def test_an_evaluation_that_was_cut(runs):
    for name in ("report.html", "results.json", "verdicts.jsonl"):
        (runs / "own" / name).unlink()
    lines = (runs / "own/samples.jsonl").read_text().splitlines()
    (runs / "own/samples.jsonl").write_text(lines[0] + "\n" + lines[1][: len(lines[1]) // 2])
    evaluations, folder = Evaluations(), found(runs, "own")
    run = evaluations.read(folder)
    assert (run.state, run.answered, run.total, run.report) == ("stopped", 1, 2, None)
    (runs / "own/samples.jsonl").write_text("\n".join(lines) + "\n")
    assert evaluations.read(folder).answered == 2


def test_a_run_is_watched_killed_and_resumed(runs, tmp_path):
    """The same log is read on while it grows."""
    steps, logs = tmp_path / "steps", TrainingLogs()
    steps.mkdir()
    command = [sys.executable, "-m", "tests.demo.runs.trained_slowly", tmp_path / "model", runs / "slow", steps]

    def wait_for(step: int) -> TrainingRun:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            if (runs / "slow").is_dir():
                run = logs.read(found(runs, "slow"))
                if run.curves.get("loss") and run.curves["loss"][-1][0] == step:
                    return run
            time.sleep(0.05)
        raise AssertionError(f"step {step} was not logged")

    with subprocess.Popen(command, cwd=ROOT) as process:
        (steps / "3").touch()
        run = wait_for(3)
        assert (run.state, run.phase, run.step, run.steps) == ("running", "training", 3, 11)
        (steps / "5").touch()
        run = wait_for(5)
        assert [step for step, _ in run.curves["loss"]] == [1, 2, 3, 4, 5] and run.seconds_left is not None
        process.kill()
        process.wait()
    run = logs.read(found(runs, "slow"))
    assert (run.state, run.why, run.step) == ("stopped", "", 5) and (runs / "slow" / RUN_LOCK).exists()
    (steps / "11").touch()
    subprocess.run([*command, "resume"], cwd=ROOT, check=True)
    run = logs.read(found(runs, "slow"))
    assert run.state == "ended" and run.record["steps"] == 11
    assert [step for step, _ in run.curves["loss"]] == list(range(1, 12))
    whole = TrainingLogs().read(found(runs, "slow"))
    assert whole.curves == run.curves


def test_a_run_that_is_resumed_forgets_what_is_trained_again(finished):
    run = TrainingRun(found(finished, "turns"))
    for step in (1, 2, 3):
        run.read_line({"step": step, "time": step, "figures": {"loss": step}, "replies": [{"prompt": "p"}]})
    run.read_line({"step": 2, "time": 9, "start": {"recipe": {}, "steps": 8, "processes": 1}})
    assert run.curves == {"loss": [(1, 1.0), (2, 2.0)]} and list(run.replies) == [1, 2]
    run.read_line({"step": 0, "time": 10, "start": {}})
    assert run.curves == {} and run.replies == {}


@pytest.mark.parametrize(
    ("reply", "right"), [("A bell.", True), ("A bell.<|end|>", True), ("A bell", False), ("A be", False), ("", False)]
)
def test_a_reply_is_right_without_the_token_that_ends_it(finished, reply, right):
    run = TrainingRun(found(finished, "turns"))
    run.read_line({"step": 1, "replies": [{"prompt": "p", "reply": reply, "expected": "A bell.<|end|>"}]})
    assert run.replies[1][0]["right"] is right


def test_a_run_says_why_it_was_stopped(runs):
    lines = (runs / "turns" / RUN_LOG).read_text().splitlines()
    why = json.dumps({"time": 1.0, "step": 7, "end": "the loss is not finite at step 7"})
    (runs / "turns" / RUN_LOG).write_text("\n".join([*lines[:-1], why]) + "\n")
    run = read(runs, "turns")
    assert (run.state, run.why, run.record) == ("stopped", "the loss is not finite at step 7", {})


def test_a_run_of_a_version_that_wrote_no_log_is_read_from_its_checkpoint(runs):
    (runs / "turns" / RUN_LOG).unlink()
    run = read(runs, "turns")
    assert (run.state, run.title, run.step, run.steps) == ("ended", "turns", 10, 11) and len(run.curves["loss"]) == 5
    (runs / "turns/run.json").unlink()
    assert read(runs, "turns").state == "stopped"


BROKEN = [
    b"", b"\0" * 40, b"\xff\xfe{", b"[" * 100_000, b"null\n3\n[]\n{}\n", b'{"step": 1e999, "figures": {"loss": 1}}\n',
    b'{"step": 3, "figures": [1], "start": 4, "replies": {"a": 1}, "end": {}}\n',
    b'{"step": 3, "time": "x", "figures": {"loss": NaN, "a": "b", "c": true, "d": 1e300, "loss2": null}}\n',
    b'{"step": 2, "start": {"recipe": [], "steps": "many", "processes": null}, "time": null}\n',
    b'{"step": 2, "replies": [1, {"prompt": 4}, {"prompt": "<script>alert(1)</script>"}]}\n',
    b'{"step": 2, "replies": [{"prompt": "\\ud800"}], "end": "\\ud800"}\n',
    b'{"case": 7, "asked": [["\\ud800"]], "replies": [{}]}',
    b'{"case": 0, "asked": 4, "replies": [{"media": 3}]}\n{"case": 1, "asked": [1, [2]], "replies": [{"media": 3}]}\n',
    b'{"group": {"a": 1}, "right": {"x": 3}}\n{"right": []}\n', b'{"log_history": [3, {"step": -5, "loss": 2}]}',
    b'{"recipe": {"learning_rates": {"a": {}, "b": "x"}, "task": ["x"]}, "seconds": "long", "peak_memory_gib": "much"}',
    b'{"suite": {}, "total": -4, "model": 3, "versions": 4, "seed": [], "count": {}}', b'{"total": 1e400}',
]  # fmt: skip
FILES = [
    "turns/log.jsonl", "turns/run.json", "turns/checkpoint-11/trainer_state.json", "turns/checkpoint-11/recipe.json",
    "own/plan.json", "own/samples.jsonl", "own/verdicts.jsonl", "own/results.json", "own/.run.lock",
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_broken_files_break_no_page(runs, visit, file):
    """Each alone, each in front of what was there, each with the log taken away so that checkpoints are read."""
    client, address = visit(runs), f"/runs/of/0/{Path(file).parts[0]}"
    before = (runs / file).read_bytes() if (runs / file).is_file() else b""
    for content in BROKEN:
        for written in (content, content + b"\n" + before):
            (runs / file).write_bytes(written)
            if "checkpoint" in file:
                (runs / "turns" / RUN_LOG).unlink(missing_ok=True)
            for path in ("/runs", address):
                answer = client.get(path)
                assert answer.status_code == 200, (content, path)
                assert "<script>alert" not in answer.text
            assert client.get("/runs").text.count('class="run"') == 3, content


def test_a_run_that_goes_away_meanwhile_is_missing(runs, visit):
    client = visit(runs)
    assert client.get("/runs/of/0/turns").status_code == 200
    shutil.rmtree(runs / "turns")
    assert client.get("/runs").status_code == 200 and client.get("/runs/of/0/turns").status_code == 404


def test_a_name_that_is_no_text_is_shown(runs, visit):
    (runs / "turns").rename(os.fsdecode(os.fsencode(runs) + b"/\xff"))
    answer = visit(runs).get("/runs")
    assert answer.status_code == 200 and answer.text.count('class="run"') == 3


def test_nothing_is_written_where_runs_are(runs, visit):
    def state():
        return {path: (os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in runs.rglob("*")}

    before, client = state(), visit(runs)
    for path in ("/runs", "/runs/of/0/turns", "/runs/of/0/own", "/runs/report/0/own"):
        assert client.get(path).status_code == 200
    assert state() == before


def test_numbers_and_lines_of_charts():
    assert ticks(0, 10) == [0, 2.5, 5, 7.5, 10]
    assert [figure(each) for each in (None, 0, 0.00012, 0.45678, 1234.5, 2e7)] == [
        "–", "0", "0.00012", "0.4568", "1,234", "2e+07"
    ]  # fmt: skip
    curve = [(step, float(step % 7)) for step in range(10_000)]
    few = thinned(curve, 100)
    assert len(few) <= 100 and few[-1] == curve[-1] and few[0][0] < few[1][0]
    assert sparkline([]) == "" and len(sparkline(curve).split()) <= 60
