"""Faults that are planted in replies, on real rendered media: the suite finds each, and passes what is right."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from data import toybox
from evaluation.conversations import ConversationRun
from evaluation.toybox.cases import Case
from evaluation.toybox.conversations import Judgement, judge, score_media
from nextgpt_lite import Reply, ReplyMedium

#: Scenes on which each fault is planted.
SCENES = range(4)


def scene(number: int, **changes) -> toybox.Scene:
    """A scene with one thing of medium size in the middle, unless it is changed."""
    drawn = toybox.sample(4040, number, "all").with_(count=1)
    drawn = replace(drawn, size="medium", place="centre", pitch="medium", pace="medium", repeats=1, motion="left")
    return drawn.with_(**changes)


def other(values: tuple, value):
    """The next of ``values``."""
    return values[(values.index(value) + 5) % len(values)]


def medium(modality: str, array: np.ndarray, rate: float | None = None) -> ReplyMedium:
    return ReplyMedium(modality, array, rate, signal_tokens=4, seconds=0.0)


def rendered(shown: toybox.Scene, modality: str) -> ReplyMedium:
    return medium(modality, toybox.render(shown, modality))


def video(array: np.ndarray) -> Reply:
    return Reply("Watch:", [medium("video", array)])


@dataclass(frozen=True)
class Fault:
    """Of each scene: what is asked for, and the faulty reply. ``names`` are the attributes that the request names."""

    modality: str
    names: tuple[str, ...]
    reply: Callable[[toybox.Scene], Reply]
    changes: tuple[tuple[str, object], ...] = ()
    unknown: bool = False

    def scene(self, number: int) -> toybox.Scene:
        return scene(number, **dict(self.changes))


PAIR, SOUND = ("thing", "colour"), ("thing", "pitch", "repeats")
FAULTS = {
    "two things for one": Fault("image", PAIR, lambda s: Reply("", [rendered(s.with_(count=2), "image")])),
    "three for two": Fault(
        "image", ("thing", "count"), lambda s: Reply("", [rendered(s.with_(count=3), "image")]), (("count", 2),)
    ),
    "one for two": Fault(
        "image", ("thing", "count"), lambda s: Reply("", [rendered(s.with_(count=1), "image")]), (("count", 2),)
    ),
    "another thing": Fault(
        "image", ("thing",), lambda s: Reply("", [rendered(s.with_(thing=other(toybox.THINGS, s.thing)), "image")])
    ),
    "another colour": Fault(
        "image", PAIR, lambda s: Reply("", [rendered(s.with_(colour=other(toybox.COLOURS, s.colour)), "image")])
    ),
    "another place": Fault(
        "image", ("thing", "place"), lambda s: Reply("", [rendered(s.with_(place="bottom right"), "image")]),
        (("place", "top left"),),
    ),
    "another size": Fault(
        "image", ("thing", "size"), lambda s: Reply("", [rendered(s.with_(size="small"), "image")]),
        (("size", "large"),),
    ),
    "another background": Fault(
        "image", ("thing", "background"),
        lambda s: Reply("", [rendered(s.with_(background=other(toybox.BACKGROUNDS, s.background)), "image")]),
    ),
    "a video played backwards": Fault(
        "video", ("thing", "motion"), lambda s: video(toybox.render(s, "video")[::-1].copy())
    ),
    "a mute sound": Fault(
        "audio", ("thing",), lambda s: Reply("", [medium("audio", np.zeros(32_000, np.float32), 16_000)])
    ),
    "another sound": Fault(
        "audio", ("thing",), lambda s: Reply("", [rendered(s.with_(thing=other(toybox.THINGS, s.thing)), "audio")])
    ),
    "another pitch": Fault(
        "audio", SOUND, lambda s: Reply("", [rendered(s.with_(pitch="high"), "audio")]), (("pitch", "low"),)
    ),
    "heard once for three times": Fault(
        "audio", SOUND, lambda s: Reply("", [rendered(s.with_(repeats=1), "audio")]), (("repeats", 3),)
    ),
    "a rate that is not the sound's": Fault(
        "audio", SOUND, lambda s: Reply("", [medium("audio", toybox.render(s, "audio"), 8_000)])
    ),
    "not a bell": Fault("text", ("thing",), lambda s: Reply(f"This is not {toybox.phrase({'thing': s.thing})}.")),
    "a bell or a drum": Fault(
        "text", ("thing",),
        lambda s: Reply(" or ".join(toybox.phrase({"thing": t}) for t in (s.thing, other(toybox.THINGS, s.thing)))),
    ),
    "words with another colour": Fault(
        "text", PAIR,
        lambda s: Reply(f"This is {toybox.phrase({'thing': s.thing, 'colour': other(toybox.COLOURS, s.colour)})}."),
    ),
    "a known thing declined": Fault("text", ("thing",), lambda s: Reply("I don't know this.")),
    "an unknown thing named": Fault("text", (), lambda s: Reply("This is a bell."), unknown=True),
    "swapped routing": Fault("image", ("thing",), lambda s: Reply("", [rendered(s, "audio")])),
    "a medium too many": Fault(
        "image", ("thing",), lambda s: Reply("", [rendered(s, "image"), rendered(s, "audio")])
    ),
    "no medium at all": Fault("video", ("thing",), lambda s: Reply("Watch:")),

}  # fmt: skip


def judged(fault: Fault, shown: toybox.Scene, reply: Reply) -> Judgement:
    media = () if fault.modality == "text" else (fault.modality,)
    attributes = {name: getattr(shown, name) for name in fault.names}
    expected = {"modalities": list(media), "attributes": attributes, "unknown": fault.unknown}
    run = ConversationRun(Case("planted", "", ([],), (media,), expected, "en", 0), [], [reply])
    score_media([run])
    return judge(run)


def right_reply(fault: Fault, shown: toybox.Scene) -> Reply:
    if fault.unknown:
        return Reply("I don't know this. I only know my toy world.")
    if fault.modality == "text":
        return Reply(f"This is {toybox.phrase({name: getattr(shown, name) for name in fault.names})}.")
    return Reply("", [rendered(shown, fault.modality)])


@cache
def verdicts(name: str) -> list[tuple[bool, bool]]:
    """(right reply passed, faulty reply passed) of each scene."""
    fault = FAULTS[name]
    shown = [fault.scene(number) for number in SCENES]
    return [(judged(fault, s, right_reply(fault, s)).right, judged(fault, s, fault.reply(s)).right) for s in shown]


def test_there_are_faults_enough():
    assert len(FAULTS) >= 20


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    assert not any(faulty for _, faulty in verdicts(name))


def test_what_is_right_passes():
    passed = [right for name in FAULTS for right, _ in verdicts(name)]
    assert sum(passed) / len(passed) >= 0.95
