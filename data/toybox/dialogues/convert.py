"""Dialogues that carry something shown into a new medium: convert, combine and follow."""

from __future__ import annotations

from data.toybox.dialogues.generate import GENERATED, carried, request, state
from data.toybox.dialogues.perceive import ask_about, show
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker
from data.toybox.world import CARRIES, COLOURS, MODALITIES, MOTIONS, PITCHES, visible

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
