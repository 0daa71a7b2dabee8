"""What several judges of a medium say together, and when one abstains."""

import numpy as np

from data import toybox
from evaluation.toybox.checks import judge_figures
from evaluation.toybox.panel import DISPUTED, OTHER, Reading, identities, panel, read


def test_one_answer_counts_and_two_different_ones_are_disputed():
    found = Reading({"a": {"thing": "bell", "colour": "red", "count": None}, "b": {"thing": "drum", "count": None}})
    assert found == {"thing": DISPUTED, "colour": "red", "count": None}
    assert found.either("thing") == "bell" and found.by_judge["b"]["thing"] == "drum"


def test_silence_is_none_of_the_sounds():
    wave = toybox.render(toybox.sample(1, 1), "audio")
    silent, faint, loud = read("audio", [np.zeros(32_000, np.float32), wave * 1e-3, wave])
    assert silent["thing"] in (OTHER, DISPUTED) and faint["thing"] in (OTHER, DISPUTED)
    assert loud["thing"] == toybox.sample(1, 1).thing


def test_a_judge_abstains_of_what_it_is_not_sure_of():
    [judge] = panel()["image"]
    noise = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3), np.uint8)
    assert any(value is None for answer in judge.predict(list(noise)) for value in answer.values())


def test_judges_have_names_and_hashes_and_figures():
    assert {"oracle_image", "oracle_video", "oracle_audio", "silence_audio"} <= set(identities())
    assert len(set(identities().values())) == len(identities())
    figures = judge_figures(7, 8)
    assert figures["oracle_image"]["thing"]["answered"] > 0.8
    assert figures["silence_audio"]["thing"] == {"right": None, "answered": 0.0, "n": 8}
