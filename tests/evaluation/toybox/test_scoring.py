"""Attributes and targets on hand-made answers."""

from evaluation.statistics import Tally
from evaluation.toybox.scoring import TARGETS, agreement, look_up, tally_attributes, verdicts


def test_agreement_is_all_wrong_without_a_medium():
    expected = {"thing": "bell", "colour": "red"}
    assert agreement(expected, {"thing": "bell", "colour": "blue", "size": "small"}) == {"thing": True, "colour": False}
    assert agreement(expected, None) == {"thing": False, "colour": False}


def test_attributes_are_counted_only_where_they_were_asked_for():
    tallies = tally_attributes([{"thing": True, "colour": False}, {"thing": True}])
    assert tallies == {"thing": Tally(2, 2), "colour": Tally(0, 1)}


def test_verdicts_compare_times_downwards_and_shares_upwards():
    metrics = {"matrix": {"points->text": {"thing": 0.9}}, "mean_thing": 0.94, "seconds": {"image": 0.5, "video": 3.5}}
    passed = {what: ok for what, _, _, ok in verdicts(metrics)}
    assert passed[TARGETS["points->text"][1]] is True
    assert passed[TARGETS["mean_thing"][1]] is False
    assert passed[TARGETS["seconds.image"][1]] is True
    assert passed[TARGETS["seconds.video"][1]] is False
    assert passed[TARGETS["oracle.audio"][1]] is None
    assert look_up(metrics, "oracle.audio") is None
