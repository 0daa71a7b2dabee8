"""The suite of drawings: what captions ask for, shares and paired differences, the whole run on the tiny model."""

import json

import pytest

from evaluation.statistics import paired
from evaluation.toybox.drawing import CAPTIONS, compare, measure, plan
from nextgpt_lite.cli import main


def test_captions_ask_for_what_they_name_and_for_one_thing_otherwise():
    drawings = plan(40, 3)
    assert [each.kind for each in drawings[:4]] == list(CAPTIONS)
    small = drawings[1]
    assert small.asked["size"] == "small" and "count" not in small.asked
    assert small.right({"count": 2, **small.asked}) == {"count": False, "thing": True, "colour": True, "size": True}
    assert plan(40, 3) == drawings != plan(40, 4)
    assert all(str(each.asked["thing"]) in each.caption or each.asked["thing"] in ("rain",) for each in drawings)


def test_shares_and_differences_are_by_kind_and_attribute():
    drawings = plan(8, 0)
    ours = [dict.fromkeys(each.right({**each.asked, "count": 1}), True) for each in drawings]
    theirs = [{**own, "count": number >= 4} for number, own in enumerate(ours)]
    assert measure(drawings, theirs)["small.count"]["share"] == 0.5 and measure(drawings, theirs)["small.all"]["n"] == 2
    found = compare(drawings, ours, theirs)
    assert found["small.count"]["difference"] == 0.5 and found["small.thing"]["difference"] == 0


def test_a_paired_difference_counts_what_changed():
    found = paired([True] * 12 + [False] * 88, [False] * 10 + [True] * 2 + [False] * 88)
    assert (found.gained, found.lost, found.difference) == (10, 0, 0.1)
    assert found.low == pytest.approx(0.1 - 1.96 * 0.03, abs=1e-6) and found.p == pytest.approx(2 / 2**10)
    assert paired([True, False], [False, True]).p == 1.0


def test_two_models_draw_the_same_captions(tiny_folder, tmp_path, capsys):
    more = ["--count", "8", "--seed", "5", "--out", str(tmp_path)]
    assert main(["evaluate", "drawing", "--model", str(tiny_folder), "--against", str(tiny_folder), *more]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"]["paired"]["everything.all"]["difference"] == 0 and results["model"]["against"]
    assert "held_out_pair.colour" in capsys.readouterr().out and "held_out_pair.colour" in (
        tmp_path / "report.html"
    ).read_text(encoding="utf-8")
    assert main(["evaluate", "things", "--against", "nano"]) == 2
