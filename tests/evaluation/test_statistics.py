"""Tallies, intervals and routing on hand-made answers."""

import pytest

from evaluation.statistics import Figures, Tally, mean_interval, routing, wilson


def test_wilson_matches_published_values():
    low, high = wilson(15, 20)
    assert (low, high) == pytest.approx((0.5313, 0.8881), abs=1e-3)
    assert wilson(20, 20)[1] == pytest.approx(1.0)
    assert wilson(20, 20)[0] == pytest.approx(0.8389, abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_interval_of_a_mean_is_students_and_one_value_has_none():
    low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])  # deviation 1.5811, t 2.776 at 4 degrees of freedom
    assert (low, high) == pytest.approx((3 - 1.963, 3 + 1.963), abs=1e-3)
    assert mean_interval([1.0]) is None
    figures = Figures()
    figures.mean("score", [1.0])
    assert figures.metrics() == {"score": 1.0, "intervals": {}, "n": {"score": 1}}


def test_a_tally_counts_and_an_empty_one_has_no_share():
    tally = Tally()
    assert tally.share is None
    tally.add(True)
    tally.add(False)
    assert (tally.right, tally.total, tally.share) == (1, 2, 0.5)


def test_routing_counts_each_medium_as_often_as_it_occurs():
    precision, recall = routing(
        [
            (("image",), ("image",)),  # as asked
            ((), ("audio",)),  # nobody asked
            (("image", "audio"), ("image",)),  # one is missing
            (("video",), ("image",)),  # the wrong one
            (("image",), ("image", "image")),  # one too many
            ((), ()),
        ]
    )
    assert (precision.right, precision.total) == (3, 6)
    assert (recall.right, recall.total) == (3, 5)
