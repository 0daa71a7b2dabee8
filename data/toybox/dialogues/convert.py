"""Dialogues that carry something shown into a new medium, or change it: convert, combine, follow and edit."""

from data.toybox.dialogues.generate import GENERATED, carried, request, state
from data.toybox.dialogues.perceive import ask_about, show
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker
from data.toybox.world import CARRIES, COLOURS, HELD_OUT_PAIRS, MODALITIES, MOTIONS, PITCHES, VALUES, visible

#: The attribute that a user may wish for in the new medium, and its values.
_WISHES = {"image": ("colour", COLOURS), "video": ("motion", MOTIONS), "audio": ("pitch", PITCHES)}


def convert(speaker: Speaker) -> Dialogue:
    """A medium in, a medium out: what the first shows and the second can carry is kept."""
    source, target = speaker.choose(speaker.source, MODALITIES), speaker.choose(speaker.target, GENERATED)
    scene = speaker.scene()
    stated = carried(visible(scene, source), target)
    medium = MediaPart(source, scene)
    name, values = _WISHES[target]
    if name not in CARRIES[source] and speaker.chance(0.35):
        if name == "colour":
            values = [value for value in values if speaker.allowed(scene.thing, value)]
        stated = carried(stated | {name: speaker.pick(values)}, target)
        wish = stated[name]
        verb = speaker.table("motion_verbs").get(wish, "")
        speaker.user(f"convert_with.{name}", medium, x=speaker.word(name, wish), v=verb)
    else:
        speaker.user(_wording(speaker, source, target), medium)
    speaker.reply(*speaker.make(target, stated))
    return speaker.done("convert", stated, [target])


def _wording(speaker: Speaker, source: str, target: str) -> str:
    if source == target and speaker.chance(0.5):
        return f"convert_again.{target}"
    return f"convert_from.{source}" if target == "image" and speaker.chance(0.3) else f"convert.{target}"


def combine(speaker: Speaker) -> Dialogue:
    """The colour and the background of an image, with the thing of a sound."""
    speaker.choose(speaker.target, ("image",))
    shown = speaker.for_context()
    seen, heard = shown.scene(), shown.scene()
    heard = heard.with_(thing=speaker.thing_for(seen.colour, other_than=seen.thing), colour=seen.colour)
    media = [MediaPart("image", seen), MediaPart("audio", heard)]
    speaker.user("combine", *(media if speaker.chance(0.5) else media[::-1]))
    stated = {"thing": heard.thing, "colour": seen.colour, "count": 1, "background": seen.background}
    speaker.reply(*speaker.make("image", stated))
    return speaker.done("combine", stated, ["image"])


def follow(speaker: Speaker) -> Dialogue:
    """A medium, described or shown, and then a question about it or a wish for it in another medium."""
    target = speaker.target or speaker.pick(("text", "image", "video", "audio"))
    shown = [modality for modality in MODALITIES if modality != target]
    source = speaker.source or ("text" if target != "text" and speaker.chance(0.5) else speaker.pick(shown))
    if source == "text":
        first = speaker.pick([modality for modality in GENERATED if modality != target])
        stated = state(speaker, first)
        request(speaker, first, stated)
    else:
        scene = speaker.scene()
        stated = visible(scene, source)
        show(speaker, scene, source)
        if target == "text":
            return ask_about(speaker, scene, source)
    stated = carried(stated, speaker.choose(target, GENERATED))
    speaker.user(f"follow.{target}")
    speaker.reply(*speaker.make(target, stated))
    return speaker.done("follow", stated, [target])


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
