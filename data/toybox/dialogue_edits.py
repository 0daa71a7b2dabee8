"""The changes that an edit may ask for, and their wording."""

from __future__ import annotations

from data.toybox.dialogue_parts import MediaPart, Speaker
from data.toybox.grammar import noun
from data.toybox.lexicon import ENGLISH, MEASURE_WORDS
from data.toybox.world import CARRIES, COLOURS, HELD_OUT_PAIRS, THINGS

_VALUES = {name: tuple(values) for name, values in ENGLISH.items()} | {"thing": THINGS, "colour": COLOURS}

MOTION_VERBS = {
    "left": "move left", "right": "move right", "up": "move up", "down": "move down",
    "spin": "spin", "grow": "grow", "bounce": "bounce",
}  # fmt: skip

_BACKGROUND_NOUNS = {"snow": "snow", "meadow": "a meadow", "beach": "a beach", "night": "night"}

_CHANGE = {
    "thing": {
        "en": (
            ("make {it} {a} instead", "change {it} to {a}", "replace {it} with {a}", "turn {it} into {a}"),
            ("{a} instead", "now {a}", "I want {a} instead", "no, {a}"),
        ),
        "zh": (("把它换成{x}", "换成{x}", "改成{x}", "把它变成{x}"), ("现在要{x}", "不，要{x}", "我想要{x}")),
    },
    "colour": {
        "en": (
            ("make {it} {x}", "make {it} {x}", "paint {it} {x}", "change the colour to {x}", "turn {it} {x}"),
            ("now make {it} {x}", "now make {it} {x}", "now in {x}", "I want {it} {x}", "{x} instead", "no, {x}"),
        ),
        "zh": (("把它变成{x}", "换成{x}", "改成{x}", "把颜色改成{x}"), ("现在换成{x}", "我想要{x}的", "要{x}的")),
    },
    "size": {
        "en": (("make {it} {x}", "make {it} {x}", "change the size to {x}"), ("now make {it} {x}", "I want {it} {x}")),
        "zh": (("把它变成{x}的", "改成{x}的", "换成{x}的"), ("现在要{x}的", "我想要{x}的")),
    },
    "place": {
        "en": (
            ("put {it} {x}", "move {it} to the {t}", "place {it} {x}"),
            ("now put {it} {x}", "now {x}", "{x} instead"),
        ),
        "zh": (("把它放在{x}", "放到{x}", "移到{x}", "把它移到{x}"), ("现在放在{x}", "要在{x}")),
    },
    "background": {
        "en": (
            ("put {it} {x}", "show {it} {x}", "change the background to {b}", "make the background {b}"),
            ("now {x}", "{x} instead"),
        ),
        "zh": (("把背景换成{x}", "背景改成{x}", "换成{x}背景"), ("现在背景是{x}", "背景要{x}")),
    },
    "count": {
        "en": (("make {it} {x}", "draw {x} of them"), ("now {x} of them", "now {x}", "I want {x} of them")),
        "zh": (("画{x}{m}", "改成{x}{m}", "变成{x}{m}"), ("现在要{x}{m}", "我要{x}{m}")),
    },
    "motion": {
        "en": (
            ("let {it} {v}", "make {it} {v}", "let {it} {v}"),
            ("now let {it} {v}", "now make {it} {v}", "it should {v}", "now {x}", "{x} instead"),
        ),
        "zh": (("让它{x}", "让它{x}", "改成{x}"), ("现在让它{x}", "它应该{x}", "要{x}的")),
    },
    "pitch": {
        "en": (("make it {x}", "play it {x}"), ("now {x}", "{x} instead", "I want it {x}")),
        "zh": (("改成{x}", "换成{x}"), ("现在{x}", "要{x}", "我想要{x}")),
    },
    "pace": {
        "en": (("make it {x}", "play it {x}"), ("now {x}", "{x} instead", "I want it {x}")),
        "zh": (("改成{x}", "换成{x}"), ("现在{x}", "要{x}", "我想要{x}")),
    },
    "repeats": {
        "en": (("play it {x}", "make it {x}", "repeat it, {x}"), ("now {x}", "{x} instead", "I want it {x}")),
        "zh": (("放{x}", "改成{x}", "播放{x}"), ("现在{x}", "要{x}", "我想听{x}")),
    },
}

#: Comparatives name the end of a scale: "lower" asks for low, however it sounded before.
_COMPARATIVES = {
    ("size", "large"): ("bigger", "larger"),
    ("size", "small"): ("smaller",),
    ("pitch", "low"): ("lower", "deeper"),
    ("pitch", "high"): ("higher",),
    ("pace", "fast"): ("faster", "quicker"),
    ("pace", "slow"): ("slower",),
}
_COMPARATIVES_CHINESE = {
    ("size", "large"): ("大一点", "再大一点"),
    ("size", "small"): ("小一点", "再小一点"),
    ("pitch", "low"): ("低一点", "音调低一点"),
    ("pitch", "high"): ("高一点", "音调高一点"),
    ("pace", "fast"): ("快一点", "再快一点"),
    ("pace", "slow"): ("慢一点", "再慢一点"),
}
_COMPARED = {
    "en": (("make {it} {x}",), ("{x} please", "{x}", "now {x}", "a bit {x}", "{x}, please")),
    "zh": ((), ("{x}", "现在{x}", "请{x}", "{x}，谢谢")),
}


def changes(speaker: Speaker, stated: dict, modality: str, last: bool = True) -> tuple[str, str | int]:
    """An attribute and its new value. A pair that the speaker may not use is never the result.

    With held-out pairs the last change of a visible medium ends in one, the others avoid them.
    """
    seek = speaker.pairs == "held_out" and modality != "audio" and last
    allowed = []
    for name in ("thing", "colour") if seek else _open(stated, modality):
        values = [value for value in _VALUES[name] if stated.get(name) != value]
        values = [value for value in values if _pair_held_out(stated | {name: value}) == seek or _free(speaker)]
        if values:
            allowed.append((name, values))
    name, values = speaker.pick(allowed)
    return name, speaker.pick(values)


def _open(stated: dict, modality: str) -> list[str]:
    """The attributes that can change: several things fill the row, and a place or a size leaves room for only one."""
    crowded = stated.get("count", 1) > 1
    settled = "size" in stated or "place" in stated
    names = [name for name in CARRIES[modality] if not (crowded and name in ("size", "place"))]
    return [name for name in names if not (name == "count" and settled)]


def _pair_held_out(stated: dict) -> bool:
    return (stated["thing"], stated.get("colour")) in HELD_OUT_PAIRS


def _free(speaker: Speaker) -> bool:
    return speaker.pairs == "all"


def ask_change(speaker: Speaker, stated: dict, name: str, value: str | int, modality: str, *media: MediaPart) -> None:
    """A user turn that asks for the change."""
    chinese = speaker.language == "zh"
    count = stated.get("count", 1)
    slots = {"it": "it" if count == 1 else "them", "m": MEASURE_WORDS[stated["thing"]]}
    compared = (_COMPARATIVES_CHINESE if chinese else _COMPARATIVES).get((name, value))
    if compared and speaker.chance(0.5):
        speaker.user(_COMPARED, *media, x=speaker.pick(compared), **slots)
        return
    if name == "thing":
        slots |= {"a": speaker.a(value, modality, count), "x": noun(value, modality, speaker.language)}
        if chinese and modality == "audio":
            slots["x"] += "的声音"
    else:
        slots["x"] = speaker.word(name, value)
    slots["x"] = slots["x"].removesuffix("的") if name == "size" else slots["x"]
    slots |= {"v": MOTION_VERBS.get(value, ""), "t": value, "b": _BACKGROUND_NOUNS.get(value, "")}
    speaker.user(_CHANGE[name], *media, **slots)
