"""Dialogues that ask for new media in words: generate and multi."""

from typing import Any

from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker
from data.toybox.world import CARRIES, Scene, visible

GENERATED = ("image", "video", "audio")

#: The pairs of media that one reply can bring.
TWO_MEDIA = (("image", "audio"), ("video", "audio"), ("image", "video"))

#: How often a user states each attribute of the medium that is asked for.
_STATED = {
    "image": {"colour": 0.7, "size": 0.3, "place": 0.35, "background": 0.35},
    "video": {"colour": 0.6, "background": 0.35, "motion": 0.6},
    "audio": {"pitch": 0.45, "pace": 0.4, "repeats": 0.4},
}


def state(speaker: Speaker, modality: str, colour: bool | None = None) -> dict:
    """A random part of a new scene for a user to ask for. ``colour`` True or False settles whether it is named."""
    scene = speaker.scene()
    stated: dict[str, Any] = {"thing": scene.thing} | ({"count": scene.count} if modality == "image" else {})
    for name, probability in _STATED[modality].items():
        wanted = speaker.chance(probability)
        if name == "colour" and colour is not None:
            wanted = colour
        if name == "colour" and speaker.pairs == "held_out" and colour is None:
            wanted = True
        if wanted and not (name in ("size", "place") and stated.get("count", 1) > 1):
            stated[name] = getattr(scene, name)
    return stated


def request(speaker: Speaker, modality: str, stated: dict) -> Scene:
    """A user turn that asks for a new medium in words, and the reply that brings it. Returns its scene."""
    asked = modality == "audio" and "repeats" not in stated and speaker.language == "en" and speaker.chance(0.2)
    speaker.user("generate.how_it_sounds" if asked else f"generate.{modality}", x=speaker.phrase(stated, modality))
    sentence, medium = speaker.make(modality, stated)
    speaker.reply(sentence, medium)
    assert medium.scene is not None
    return medium.scene


def generate(speaker: Speaker) -> Dialogue:
    modality = speaker.choose(speaker.target, GENERATED)
    stated = state(speaker, modality)
    request(speaker, modality, stated)
    return speaker.done("generate", stated, [modality])


def multi(speaker: Speaker) -> Dialogue:
    """Two media in one reply, of something described or of something shown."""
    pairs = [pair for pair in TWO_MEDIA if speaker.target in (None, *pair)]
    modalities = speaker.pick(pairs)
    source = speaker.source or ("text" if speaker.chance(0.7) else speaker.pick((*GENERATED, "points")))
    if source == "text":
        visual = "video" if "video" in modalities else "image"
        stated = state(speaker, visual)
        speaker.user(f"multi.{'_'.join(modalities)}", x=speaker.phrase(stated, visual))
    else:
        scene = speaker.scene()
        stated = visible(scene, source)
        speaker.user(f"multi_of_shown.{'_'.join(modalities)}", MediaPart(source, scene))
    by_modality = {modality: carried(stated, modality) for modality in modalities}
    parts = [part for modality in modalities for part in speaker.make(modality, by_modality[modality])]
    speaker.reply(*parts)
    union = {name: value for each in by_modality.values() for name, value in each.items()}
    return speaker.done("multi", union, modalities, attributes_by_modality=by_modality)


def carried(stated: dict, modality: str) -> dict:
    """The part of ``stated`` that a new medium can carry. An image shows one thing unless several are stated."""
    known = {"count": 1} | stated if modality == "image" else stated
    return {name: known[name] for name in CARRIES[modality] if name in known}
