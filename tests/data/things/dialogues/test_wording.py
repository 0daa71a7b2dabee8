"""Wordings: what is held out never comes in training, Chinese says what English says, typos make no other word."""

import re

import numpy as np
import pytest

from data.things import MOTIONS, catalogue
from data.things.dialogues import dialogue, style, wording
from data.things.dialogues.phrases import held_out_name
from data.things.dialogues.wording import HELD_OUT, Wording, banks
from data.things.words import plural

#: Stands for the classes of an image classifier, in its order.
CLASSES = tuple(f"class {number}" for number in range(1000))


def used(monkeypatch, **chosen) -> list[tuple[str, str]]:
    """(bank, template) of everything that 200 dialogues say."""
    found = []
    original = Wording.template

    def noted(self: Wording, name: str) -> str:
        found.append((name, original(self, name)))
        return found[-1][1]

    monkeypatch.setattr(wording.Wording, "template", noted)
    for index in range(200):
        dialogue(6, index, classes=CLASSES, **chosen)
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
def test_held_out_wordings_never_come_in_training(monkeypatch, language):
    flagged = {(name, each.removeprefix(HELD_OUT)) for name, bank in banks(language).items() for each in bank
               if each.startswith(HELD_OUT)}  # fmt: skip
    usual_ones = {(name, each) for name, bank in banks(language).items() for each in bank}
    assert len(flagged) > 100 and not flagged & usual_ones
    assert not flagged & set(used(monkeypatch, language=language))
    assert len(flagged & set(used(monkeypatch, language=language, wording="held_out"))) > 60


def test_held_out_synonyms_never_come_in_training(monkeypatch):
    monkeypatch.setattr(style, "TYPOS", 0)
    drawn = [dialogue(3, index) for index in range(400)]
    said = " ".join(turn.text.lower() for each in drawn for turn in each.turns)
    words = ("scarlet", "ebony", "mauve", "sahara", "massive", "seashore", "朱红", "汪洋", "硕大")
    assert not [word for word in words if word in said]
    # A name that is part of no other wording is not said either.
    everything = " ".join(" ".join(bank) for bank in banks("en").values()).lower()
    names = [name.lower() for thing in catalogue().values() for name in thing.names["en"]]
    names += [plural(thing.names["en"][0]) for thing in catalogue().values()]  # "dice" are several of a die
    held_out = [name for thing in catalogue().values() for name in thing.names["en"][1:] if held_out_name(name)]
    alone = [
        name.lower().removeprefix("some ") for name in held_out
        if sum(name.lower().removeprefix("some ") in other for other in names) == 1 and name.lower() not in everything
    ]  # fmt: skip
    assert len(alone) > 40
    assert not [name for name in alone if re.search(rf"\b{re.escape(name)}\b", said)]


def test_chinese_names_what_english_names():
    missing = [
        name for name in banks("en") if name not in banks("zh") and name.split(".")[0] in ("ask", "answer", "change")
    ]
    assert missing == []
    assert {name for name in banks("zh") if name.startswith("motion.")} == {f"motion.{motion}" for motion in MOTIONS}


def test_typos_change_letters_and_make_no_other_word():
    rng = np.random.default_rng(0)
    changed = [style.with_typo("please draw a purple elephant", rng) for _ in range(50)]
    assert all(text != "please draw a purple elephant" and "draw a" in text for text in changed)
    assert style.with_typo("a cat", rng) == "a cat"
