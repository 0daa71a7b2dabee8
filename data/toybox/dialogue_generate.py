"""Dialogues that ask for new media in words: generate, multi and edit."""

from __future__ import annotations

from data.toybox.dialogue_edits import ask_change, changes
from data.toybox.dialogue_parts import Dialogue, MediaPart, Speaker
from data.toybox.world import CARRIES, visible

GENERATED = ("image", "video", "audio")

_REQUESTS = {
    "image": {
        "en": (
            ("draw {x}", "draw {x}", "draw me {x}", "paint {x}", "show me {x}", "make a picture of {x}",
             "make an image of {x}", "create a picture of {x}", "sketch {x}"),
            ("{x}", "a picture of {x}", "I want a picture of {x}", "I would like to see {x}", "picture: {x}"),
        ),
        "zh": (
            ("画{x}", "画{x}", "画出{x}", "画一张图：{x}", "生成一张图：{x}"),
            ("{x}", "给我看{x}", "我想看{x}", "来一张图：{x}", "我要一张图：{x}", "给我画{x}"),
        ),
    },
    "video": {
        "en": (
            ("make a video of {x}", "make a video of {x}", "show me a video of {x}", "film {x}", "animate {x}",
             "create a short video of {x}", "make a clip of {x}"),
            ("a video of {x}", "I want a video of {x}", "I would like to watch {x}", "video: {x}"),
        ),
        "zh": (
            ("做一段视频：{x}", "拍一段视频：{x}", "生成一段视频：{x}", "做个视频：{x}", "做一个动画：{x}"),
            ("我想看视频：{x}", "来一段视频：{x}", "视频：{x}", "我要一段视频：{x}"),
        ),
    },
    "audio": {
        "en": (
            ("play {x}", "play me {x}", "let me hear {x}", "let me hear {x}", "make the sound of {x}",
             "play the sound of {x}", "record {x}"),
            ("the sound of {x}", "I want to hear {x}", "I would like to hear {x}", "sound: {x}"),
        ),
        "zh": (
            ("播放{x}", "放一下{x}", "让我听听{x}", "放一段{x}", "生成{x}"),
            ("我想听{x}", "给我听{x}", "来一段{x}", "听听{x}", "我要听{x}"),
        ),
    },
}  # fmt: skip

_HOW_IT_SOUNDS = {"en": ((), ("what does {x} sound like?", "how does {x} sound?"))}

_TWO = {
    ("image", "audio"): {
        "en": (
            ("draw {x} and play its sound", "show me {x} and let me hear it", "draw {x} and let me hear it",
             "paint {x} and play it", "make a picture and the sound of {x}"),
            ("a picture and the sound of {x}", "I want to see and hear {x}", "{x}, as a picture and as a sound"),
        ),
        "zh": (
            ("画{x}，再让我听听它的声音", "画{x}，再播放它的声音", "画{x}，并放出声音"),
            ("我想看图，也想听声音：{x}", "图和声音都要：{x}", "给我图和声音：{x}"),
        ),
    },
    ("video", "audio"): {
        "en": (
            ("make a video of {x} and play its sound", "film {x} and let me hear it",
             "show me a video of {x} and let me hear it", "make a video and the sound of {x}"),
            ("a video and the sound of {x}", "I want a video of {x} and its sound", "video and sound: {x}"),
        ),
        "zh": (
            ("做一段视频：{x}，再让我听听它的声音", "做一段视频：{x}，再播放它的声音"),
            ("我想看视频，也想听声音：{x}", "视频和声音都要：{x}", "给我视频和声音：{x}"),
        ),
    },
    ("image", "video"): {
        "en": (
            ("draw {x} and make a video of it", "show me a picture and a video of {x}", "paint {x} and animate it",
             "make a picture and a video of {x}"),
            ("a picture and a video of {x}", "I want a picture of {x} and a video of it", "picture and video: {x}"),
        ),
        "zh": (
            ("画{x}，再做一段视频", "画{x}，再做成视频"),
            ("我想看图，也想看视频：{x}", "图和视频都要：{x}", "给我图和视频：{x}"),
        ),
    },
}  # fmt: skip

_TWO_OF_IT = {
    ("image", "audio"): {
        "en": (("draw it and play its sound", "draw this and let me hear it"), ("a picture and a sound of this",)),
        "zh": (("把它画出来，再播放它的声音", "画一下，再让我听听"), ("它的图和声音都要",)),
    },
    ("video", "audio"): {
        "en": (
            ("make a video of it and play its sound", "make a video of this and let me hear it"),
            ("a video and a sound of this",),
        ),
        "zh": (("把它做成视频，再播放它的声音", "做一段它的视频，再让我听听"), ("它的视频和声音都要",)),
    },
    ("image", "video"): {
        "en": (("draw it and make a video of it", "draw this and animate it"), ("a picture and a video of this",)),
        "zh": (("把它画出来，再做成视频", "画一下，再做一段视频"), ("它的图和视频都要",)),
    },
}

#: How often a user states each attribute of the medium that is asked for.
_STATED = {
    "image": {"colour": 0.7, "size": 0.3, "place": 0.35, "background": 0.35},
    "video": {"colour": 0.6, "background": 0.35, "motion": 0.6},
    "audio": {"pitch": 0.45, "pace": 0.4, "repeats": 0.4},
}


def state(speaker: Speaker, modality: str, colour: bool | None = None) -> dict:
    """A random part of a new scene for a user to ask for. ``colour`` True or False settles whether it is named."""
    scene = speaker.scene()
    stated = {"thing": scene.thing} | ({"count": scene.count} if modality == "image" else {})
    for name, probability in _STATED[modality].items():
        wanted = speaker.chance(probability)
        if name == "colour" and colour is not None:
            wanted = colour
        if name == "colour" and speaker.pairs == "held_out" and colour is None:
            wanted = True
        if wanted and not (name in ("size", "place") and stated.get("count", 1) > 1):
            stated[name] = getattr(scene, name)
    return stated


def request(speaker: Speaker, modality: str, stated: dict) -> None:
    """A user turn that asks for a new medium in words, and the reply that brings it."""
    asked = modality == "audio" and "repeats" not in stated and speaker.language == "en" and speaker.chance(0.2)
    speaker.user(_HOW_IT_SOUNDS if asked else _REQUESTS[modality], x=speaker.phrase(stated, modality))
    speaker.reply(*speaker.make(modality, stated))


def generate(speaker: Speaker) -> Dialogue:
    modality = speaker.choose(speaker.target, GENERATED)
    stated = state(speaker, modality)
    request(speaker, modality, stated)
    return speaker.done("generate", stated, [modality])


def multi(speaker: Speaker) -> Dialogue:
    """Two media in one reply, of something told or of something shown."""
    pairs = [pair for pair in _TWO if speaker.target in (None, *pair)]
    modalities = speaker.pick(pairs)
    source = speaker.source or ("text" if speaker.chance(0.7) else speaker.pick((*GENERATED, "points")))
    if source == "text":
        visual = "video" if "video" in modalities else "image"
        stated = state(speaker, visual)
        speaker.user(_TWO[modalities], x=speaker.phrase(stated, visual))
    else:
        scene = speaker.scene()
        stated = visible(scene, source)
        speaker.user(_TWO_OF_IT[modalities], MediaPart(source, scene))
    by_modality = {modality: carried(stated, modality) for modality in modalities}
    parts = [part for modality in modalities for part in speaker.make(modality, by_modality[modality])]
    speaker.reply(*parts)
    union = {name: value for each in by_modality.values() for name, value in each.items()}
    return speaker.done("multi", union, modalities, attributes_by_modality=by_modality)


def carried(stated: dict, modality: str) -> dict:
    """The part of ``stated`` that a new medium can carry. A picture shows one thing unless several are stated."""
    known = {"count": 1} | stated if modality == "image" else stated
    return {name: known[name] for name in CARRIES[modality] if name in known}


def edit(speaker: Speaker) -> Dialogue:
    """A medium, told or shown, and one to three changes to it."""
    modality = speaker.choose(speaker.target, GENERATED)
    source = speaker.source or ("text" if speaker.chance(0.75) else modality)
    length = int(speaker.rng.choice((1, 2, 3), p=(0.65, 0.25, 0.1)))
    attached = ()
    free = Speaker(speaker.rng, speaker.language, "train" if speaker.pairs == "held_out" else speaker.pairs)
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
        name, value = changes(speaker, stated, modality, last)
        ask_change(speaker, stated, name, value, modality, *(attached if step == 0 else ()))
        stated = stated | {name: value}
        speaker.reply(*speaker.make(modality, stated))
    return speaker.done("edit", carried(stated, modality), [modality], changed=name)
