"""Tallies, intervals, routing and thresholds on hand-made answers."""

import pytest

from evaluation.scoring import THRESHOLDS, Tally, agreement, look_up, routing, tally_attributes, verdicts, wilson


def test_wilson_matches_published_values():
    low, high = wilson(15, 20)
    assert (low, high) == pytest.approx((0.5313, 0.8881), abs=1e-3)
    assert wilson(20, 20)[1] == pytest.approx(1.0)
    assert wilson(20, 20)[0] == pytest.approx(0.8389, abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_tally_counts_and_an_empty_one_has_no_share():
    tally = Tally()
    assert tally.share is None
    tally.add(True)
    tally.add(False)
    assert (tally.right, tally.total, tally.share) == (1, 2, 0.5)


def test_agreement_is_all_wrong_without_a_medium():
    expected = {"thing": "bell", "colour": "red"}
    assert agreement(expected, {"thing": "bell", "colour": "blue", "size": "small"}) == {"thing": True, "colour": False}
    assert agreement(expected, None) == {"thing": False, "colour": False}


def test_attributes_are_counted_only_where_they_were_asked_for():
    tallies = tally_attributes([{"thing": True, "colour": False}, {"thing": True}])
    assert tallies == {"thing": Tally(2, 2), "colour": Tally(0, 1)}


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


def test_verdicts_compare_times_downwards_and_shares_upwards():
    metrics = {"matrix": {"points->text": {"thing": 0.9}}, "mean_thing": 0.94, "seconds": {"image": 0.5, "video": 3.5}}
    passed = {what: ok for what, _, _, ok in verdicts(metrics)}
    assert passed[THRESHOLDS["points->text"][1]] is True
    assert passed[THRESHOLDS["mean_thing"][1]] is False
    assert passed[THRESHOLDS["seconds.image"][1]] is True
    assert passed[THRESHOLDS["seconds.video"][1]] is False
    assert passed[THRESHOLDS["oracle.audio"][1]] is None
    assert look_up(metrics, "oracle.audio") is None
