"""Dialogues about photographs: the assistant names what a classifier sees, and says so where it is not sure.

The photograph itself is not rendered: a dialogue states what the classifier sees in it, and training draws features
that fit.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data.sureness import SURE, UNSURE, sureness
from data.things.catalogue import catalogue
from data.things.dialogues import composing
from data.things.dialogues.contents import answer
from data.things.dialogues.parts import Dialogue, MediaPart, Photograph
from data.things.dialogues.phrases import listed
from data.things.dialogues.speaker import Speaker
from data.things.words import with_article

TABLE = Path(__file__).with_name("classes.yaml")


@cache
def _table() -> dict[str, Any]:
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


@cache
def _wider(number: int) -> tuple[str, str, str]:
    """The wider word of class ``number`` in English and Chinese, and the thing it is drawn as; "" where it has none."""
    found = (entry for entry in _table()["wider"] if entry[0] <= number <= entry[1])
    return next(((en, zh, thing) for *_, en, zh, thing in found), ("", "", ""))


def class_noun(name: str, language: str = "en") -> str:
    """ "a golden retriever": the name of a class without what stands in brackets, in English with its article."""
    short = re.split(r" \(| / |, ", name)[0]
    bare = language == "zh" or short.startswith("a ") or short in _table()["without_article"]
    return short if bare else with_article(short)


def photograph(speaker: Speaker) -> Dialogue:
    """A photograph, a question, and at times what it looks like drawn."""
    number, shown = _draw(speaker)
    part = MediaPart("image", Photograph(shown, int(speaker.rng.integers(2**31))))
    en, zh, thing = _wider(number)
    wide = en if speaker.language == "en" else zh
    topic = "yes_no" if wide and shown[0][1] >= SURE and speaker.chance(0.2) else "what"
    if topic == "yes_no":
        answered = _yes_no(speaker, part, wide)
    else:
        speaker.user("photograph.what", part)
        answered = _name(speaker, number, shown)
    drawable = thing and speaker.things == "train" and not catalogue()[thing].held_out
    if shown[0][1] >= SURE and drawable and speaker.chance(0.2):
        speaker.user("photograph.draw")
        answer(speaker, "image", composing.plain(speaker, thing))
        return speaker.done("photograph", "draw")
    if speaker.chance(0.15):
        speaker.user("photograph.asked_sure")
        speaker.reply(f"photograph.how_sure.{sureness(shown[0][1])}")
        return speaker.done("photograph", "sure")
    return speaker.done("photograph", topic, answered)


def _name(speaker: Speaker, number: int, shown: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
    """The reply that names what is seen; a word that it holds."""
    en, zh, _ = _wider(number)
    names = [class_noun(name, speaker.language) for name, _ in shown]
    wide = with_article(en) if speaker.language == "en" and en else zh
    how = sureness(shown[0][1])
    if how == "unsure":
        few = names[: 2 if speaker.chance(0.6) else 3]
        same = wide and all(_wider(speaker.classes.index(name))[0] == en for name, _ in shown[: len(few)])
        bank = "photograph.unsure_of" if same else "photograph.unsure"
        speaker.reply(bank, x=listed(speaker, few, either=True), w=wide)
        return ()
    bank = f"photograph.{how}{'_wider' if wide and en not in names[0] else ''}"
    speaker.reply(bank, x=names[0], w=wide)
    return (names[0].split(" ", 1)[-1] if bank.endswith("sure") and speaker.language == "en" else "",)


def _yes_no(speaker: Speaker, part: MediaPart, wide: str) -> tuple[str, ...]:
    """Is it a dog?"""
    right = speaker.chance(0.5)
    others = sorted({entry[2 if speaker.language == "en" else 3] for entry in _table()["wider"]} - {wide})
    asked = wide if right else speaker.pick(others)
    if speaker.language == "en":
        asked, wide = with_article(asked), with_article(wide)
    speaker.user("photograph.is_it", part, y=asked)
    speaker.reply(
        f"photograph.{'yes' if right else 'no'}", x=class_noun(part.content.classes[0][0], speaker.language), w=wide
    )
    return ()


def _draw(speaker: Speaker) -> tuple[int, tuple[tuple[str, float], ...]]:
    """A class, and what the classifier sees: it first, then two or three that it may be taken for."""
    number = int(speaker.rng.integers(len(speaker.classes)))
    if speaker.chance(0.5):
        run = speaker.pick(_table()["wider"])
        number = int(speaker.rng.integers(run[0], run[1] + 1))
    low, high = ((SURE, 0.99), (UNSURE, SURE), (0.1, UNSURE))[int(speaker.rng.choice(3, p=(0.5, 0.15, 0.35)))]
    probability = float(speaker.rng.uniform(low, high))
    names = [speaker.classes[number]]
    while len(names) < 4:
        near = number + int(speaker.rng.integers(-8, 9)) if speaker.chance(0.8) else int(speaker.rng.integers(1000))
        name = speaker.classes[near % len(speaker.classes)]
        if name not in names:
            names.append(name)
    probabilities = [probability]
    for _ in names[1:]:
        left = 1 - sum(probabilities)
        probabilities.append(min(probabilities[-1] * 0.95, left * float(speaker.rng.uniform(0.3, 0.7))))
    return number, tuple((name, round(each, 3)) for name, each in zip(names, probabilities, strict=True))
