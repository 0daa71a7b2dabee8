"""The whole suite on a complete model of the real classes at tiny size, through the command line."""

import json

import pytest

from evaluation import SUITES
from evaluation.statistics import verdicts
from evaluation.toybox.cases import GENERATED, MEDIA
from evaluation.toybox.suite import TARGETS
from nextgpt_lite.cli import main


@pytest.mark.timeout(600)
def test_the_suite_runs_and_writes_every_figure(tiny_folder, tmp_path, capsys):
    arguments = ["evaluate", "any_to_any", "--model", str(tiny_folder), "--count", "1", "--seed", "3"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert {"suite", "model", "data", "judges", "seed", "count", "metrics"} == set(results)
    assert (results["suite"], results["seed"], results["count"]) == ("any_to_any", 3, 1)
    metrics = results["metrics"]
    cells = {f"{source}->{target}" for source in MEDIA for target in MEDIA} | {"points->text"}
    assert set(metrics["matrix"]) == cells
    assert set(metrics["gold_caption_gap"]) == set(GENERATED)
    assert set(metrics["judge"]) == set(results["judges"])
    assert all(
        gap["n"] == 1 and gap["low"] <= gap["gap"] <= gap["high"] for gap in metrics["gold_caption_gap"].values()
    )
    assert set(metrics["seconds"]) == {"cold_first_reply", *GENERATED}
    values = {verdict.what: verdict.value for verdict in verdicts(metrics, TARGETS)}
    for figure, (_, what) in TARGETS.items():
        assert what in printed
        if figure.startswith("seconds.") and figure != "seconds.cold_first_reply":
            continue  # an untrained model may bring no medium where one is asked for
        assert values[what] is not None or "colour" in figure or "routing" in figure, figure
    page = (tmp_path / "report.html").read_text()
    assert "Misses" in page
    assert "% of" not in printed and "95 % " in printed and metrics["n"]["mean_thing"] == 16
    made = {path.name for path in tmp_path.iterdir()} - {"media"}  # an untrained model may bring none
    assert made == {"plan.json", "samples.jsonl", "verdicts.jsonl", "report.html", "results.json"}


def test_every_suite_can_be_imported():
    for suite in SUITES.values():
        module, _, function = suite.run.partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))
