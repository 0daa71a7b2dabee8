"""Paired differences, their intervals and verdicts on known numbers."""

from math import inf

import pytest

from evaluation.claims.experiments import Claim, Experiment, Plan
from evaluation.claims.verdicts import NOT_REPRODUCED, REPRODUCED, UNDECIDED, decide, judge
from evaluation.statistics import mean_difference

CLAIM = {"says": "a is better", "paper": "1 against 2", "run": "a", "against": "b", "margin": 0.1}


def plan_of(claim):
    settings = Experiment(paper="a paper", task="a task", runs={}, claims={})
    return Plan("experiment", settings, {}, {"name": claim})


def test_the_interval_is_students():
    found = mean_difference([2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0])  # 1 to 5: mean 3, deviation 1.5811
    assert found == pytest.approx((3.0, 3 - 2.776 * 0.70711, 3 + 2.776 * 0.70711), abs=1e-4)
    assert mean_difference([1.0], [0.5]) == (0.5, -inf, inf)
    many = mean_difference([float(n % 2) for n in range(100)], [0.0] * 100)
    assert many.high - many.difference == pytest.approx(1.9842 * 0.050252, abs=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "expect", "verdict"),
    [
        (0.05, 0.3, "better", REPRODUCED),
        (-0.05, 0.3, "better", UNDECIDED),
        (-0.3, -0.05, "better", NOT_REPRODUCED),
        (-0.01, 0.05, "better", NOT_REPRODUCED),  # whatever it is, it is less than matters
        (0.01, 0.05, "better", NOT_REPRODUCED),
        (-0.05, 0.05, "no_worse", REPRODUCED),
        (0.2, 0.3, "no_worse", REPRODUCED),
        (-0.2, 0.05, "no_worse", UNDECIDED),
        (-0.3, -0.2, "no_worse", NOT_REPRODUCED),
        (-inf, inf, "better", UNDECIDED),
        (-inf, inf, "no_worse", UNDECIDED),
    ],
)
def test_a_verdict_follows_from_interval_and_margin(low, high, expect, verdict):
    assert decide(low, high, expect, 0.1) == verdict


@pytest.mark.parametrize(("better", "verdict"), [("higher", REPRODUCED), ("lower", NOT_REPRODUCED)])
def test_a_claim_is_judged_in_its_own_direction(better, verdict):
    figures = {seed: {"a": {"x": 1.0 + seed / 100, "y": 3.0}, "b": {"z": 0.5}} for seed in (100, 101, 102)}
    claim = Claim(**CLAIM, figure=["x", "y"], against_figure=["z"], better=better)
    judged = judge(plan_of(claim), "name", figures)
    assert judged.ours == pytest.approx([2.5, 2.505, 2.51])
    assert judged.verdict == verdict
    entry = judged.entry()
    assert entry["means"] == pytest.approx({"run": 2.505, "against": 0.5})
    assert entry["interval"][0] < entry["difference"] < entry["interval"][1]


def test_one_seed_decides_nothing():
    claim = Claim(**CLAIM, figure=["x"], better="higher")
    judged = judge(plan_of(claim), "name", {100: {"a": {"x": 9.0}, "b": {"x": 1.0}}})
    assert (judged.verdict, judged.entry()["interval"]) == (UNDECIDED, None)


def test_a_figure_that_is_missing_is_named():
    claim = Claim(**CLAIM, figure=["loss"], better="lower")
    with pytest.raises(ValueError, match="the run b has no figure 'loss': it has x"):
        judge(plan_of(claim), "name", {100: {"a": {"loss": 1.0}, "b": {"x": 1.0}}})
