"""The frozen wordings: none stands in training's dialogues, and what they ask for can be judged."""

import pytest

from data import toybox
from data.toybox.world import load_table
from evaluation.toybox.cases import plan
from evaluation.toybox.wording import TABLE, free_turns, outside_turns, requests, table


def plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_wording_is_one_of_training(language):
    frozen = {plain(entry["say"]) for entry in requests(language)}
    assert len(frozen) == len(requests(language)) >= 24
    for index in range(3000):
        for turn in toybox.dialogue(1, index, language=language).turns:
            said = plain(" ".join(part for part in turn.parts if isinstance(part, str)))
            assert turn.role != "user" or said not in frozen, said


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_asked_for_is_of_the_world_and_can_be_shown(language):
    for entry in requests(language):
        assert set(entry) <= {"say", "show", "make", "want", "ask"} and ("want" in entry) != ("ask" in entry), entry
        for name, value in entry.get("want", {}).items():
            assert value in toybox.VALUES[name]
        for name in (*entry.get("want", ()), *entry.get("ask", ())):
            for medium in (entry.get("make"), entry.get("show") if "ask" in entry else None):
                assert medium is None or name in toybox.CARRIES[medium], entry


@pytest.mark.parametrize("language", ["en", "zh"])
def test_things_from_outside_stand_in_no_list_of_training(language):
    nouns = table()["outside"][language]["nouns"]
    path = TABLE.parents[2] / f"data/toybox/dialogues/{language}.yaml"
    known = load_table(path)["unknown"]["things"]
    assert len(set(nouns)) == len(nouns) >= 12 and not set(nouns) & set(known)
    for turn in outside_turns(language, 30):
        assert not toybox.parse_reply(turn[0]["text"]).get("thing"), turn


def test_the_plan_has_them_with_scenes_of_the_seed():
    one, other = plan(80, 101), plan(80, 102)
    free = [case for case in one if case.group == "free"]
    assert len(free) == 20 and len({case.cell for case in free}) > 5
    assert len({cell for _, _, cell in free_turns("en", len(requests("en")), 101)}) >= 13
    again = [case for case in other if case.group == "free"]
    assert [case.turns[0][-1] for case in free] == [case.turns[0][-1] for case in again]
    assert [case.expected for case in free] != [case.expected for case in again]
    assert all(case.expected["unknown"] for case in one if case.group.startswith("outside"))
