"""Dialogues that change a medium step by step: edit."""

from __future__ import annotations

from data.toybox.dialogues.generate import GENERATED, carried, request, state
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker
from data.toybox.world import CARRIES, HELD_OUT_PAIRS, VALUES, visible


def edit(speaker: Speaker) -> Dialogue:
    """A medium, described or shown, and one to three changes to it."""
    modality = speaker.choose(speaker.target, GENERATED)
    source = speaker.source or ("text" if speaker.chance(0.75) else modality)
    length = int(speaker.rng.choice((1, 2, 3), p=(0.65, 0.25, 0.1)))
    attached: tuple[MediaPart, ...] = ()
    free = speaker.for_context()
    if source == "text":
        free.turns = speaker.turns
        stated = state(free, modality, colour=True if speaker.pairs == "held_out" and modality != "audio" else None)
        request(free, modality, stated)
    else:
        scene = free.scene()
        stated = carried(visible(scene, source), modality)
        attached = (MediaPart(source, scene),)
    for step in range(length):
        last = step == length - 1
        name, value = _change(speaker, stated, modality, last)
        _ask_change(speaker, stated, name, value, modality, *(attached if step == 0 else ()))
        stated = stated | {name: value}
        speaker.reply(*speaker.make(modality, stated))
    return speaker.done("edit", carried(stated, modality), [modality], changed=name)


def _change(speaker: Speaker, stated: dict, modality: str, last: bool) -> tuple[str, str | int]:
    """An attribute and its new value. A pair that the speaker may not use is never the result.

    With held-out pairs the last change of a visible medium ends in one, the others avoid them.
    """
    seek = speaker.pairs == "held_out" and modality != "audio" and last
    allowed = []
    for name in ("thing", "colour") if seek else _open(stated, modality):
        values = [value for value in VALUES[name] if stated.get(name) != value]
        values = [value for value in values if speaker.pairs == "all" or _held_out(stated | {name: value}) == seek]
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


def _held_out(stated: dict) -> bool:
    return (stated["thing"], stated.get("colour")) in HELD_OUT_PAIRS


def _ask_change(speaker: Speaker, stated: dict, name: str, value: str | int, modality: str, *media: MediaPart) -> None:
    """A user turn that asks for the change."""
    count = stated.get("count", 1)
    slots = {"it": "it" if count == 1 else "them", "m": speaker.measure_word(stated["thing"])}
    # Comparatives name the end of a scale: "lower" asks for low, however it sounded before.
    compared = speaker.table("comparatives").get(name, {}).get(value)
    if compared and speaker.chance(0.5):
        speaker.user("edit_compared", *media, x=speaker.pick(compared), **slots)
        return
    if name == "thing":
        bare = speaker.noun(str(value), modality)
        x = speaker.table("heard_thing").format(n=bare) if modality == "audio" else bare
        slots |= {"a": speaker.a(str(value), modality, count), "x": x}
    else:
        x = speaker.word(name, value)
        slots["x"] = x.removesuffix("的") if name == "size" else x
    verbs, nouns = speaker.table("motion_verbs"), speaker.table("background_nouns")
    speaker.user(f"edit.{name}", *media, **slots, v=verbs.get(value, ""), t=value, b=nouns.get(value, ""))
