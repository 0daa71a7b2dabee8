"""Dialogues that carry something shown into a new medium: convert, combine and follow."""

from __future__ import annotations

from data.toybox.dialogue_edits import MOTION_VERBS
from data.toybox.dialogue_generate import GENERATED, carried, request, state
from data.toybox.dialogue_parts import Dialogue, MediaPart, Speaker
from data.toybox.dialogue_perceive import ask_about, show
from data.toybox.world import CARRIES, COLOURS, MOTIONS, PITCHES, visible

SHOWN = ("image", "video", "audio", "points")

_CONVERT = {
    "image": {
        "en": (
            ("draw this", "draw it", "paint this", "make a picture of this", "turn this into a picture",
             "show me what this looks like", "show me a picture of it", "sketch it"),
            ("what does this look like? draw it", "a picture of this", "I want a picture of it", "as a picture"),
        ),
        "zh": (
            ("画出来", "把它画出来", "画一下这个", "把它变成图片", "画一张它的图"),
            ("它长什么样？画出来", "我想看它的图", "来一张它的图", "给我看看它的样子"),
        ),
    },
    "video": {
        "en": (
            ("make a video of this", "make a video of it", "turn this into a video", "film this", "animate this",
             "show me a video of it"),
            ("a video of this", "I want a video of it", "as a video"),
        ),
        "zh": (
            ("做成视频", "把它变成视频", "给它做一段视频", "让它动起来"),
            ("我想看它的视频", "来一段它的视频", "要它的视频"),
        ),
    },
    "audio": {
        "en": (
            ("play this", "play its sound", "let me hear it", "let me hear this", "make its sound",
             "turn this into a sound", "play what this sounds like"),
            ("what does this sound like?", "what does this sound like? play it", "how does it sound?",
             "I want to hear it", "as a sound"),
        ),
        "zh": (
            ("播放它的声音", "让我听听它", "放一下它的声音", "把它变成声音"),
            ("它是什么声音？", "它听起来怎么样？", "我想听它的声音", "来一段它的声音"),
        ),
    },
}  # fmt: skip

_AGAIN = {
    "image": {
        "en": (("draw this again", "draw the same again", "copy this picture", "repeat this picture"), ("again",)),
        "zh": (("再画一次", "照着再画一张", "重画一遍"), ("再来一张",)),
    },
    "video": {
        "en": (("film this again", "make this video again", "copy this video", "repeat this video"), ("again",)),
        "zh": (("再做一次这个视频", "照着再拍一段", "重做这段视频"), ("再来一段",)),
    },
    "audio": {
        "en": (("play this again", "play the same again", "copy this sound", "repeat this sound"), ("again",)),
        "zh": (("再放一次", "照着再放一段", "重放一遍"), ("再来一遍",)),
    },
}

_FROM = {
    "audio": {
        "en": (
            ("draw what you hear", "paint what you hear", "draw what makes this sound"),
            ("who makes this sound? draw it",),
        ),
        "zh": (("画出你听到的", "把你听到的画出来"), ("是什么在响？画出来",)),
    },
    "points": {
        "en": (("draw these points", "draw this shape", "turn these points into a picture"), ()),
        "zh": (("把这些点画出来", "画出这个形状"), ()),
    },
    "video": {
        "en": (("draw what you see in this video", "make a picture of this video"), ()),
        "zh": (("画出视频里的东西", "把视频变成图片"), ()),
    },
    "image": {
        "en": (("draw what you see", "draw what is in this picture"), ()),
        "zh": (("画出你看到的", "把图里的东西再画一次"), ()),
    },
}

#: Wording for one more wish about the new medium.
_WISH = {
    "colour": {
        "en": (
            ("draw it in {x}", "paint it {x}", "draw a {x} one", "make a {x} picture of it"),
            ("in {x}, as a picture",),
        ),
        "zh": (("画一个{x}的", "用{x}画出来", "把它画成{x}的"), ("要一张{x}的图",)),
    },
    "motion": {
        "en": (
            ("make a video of it {x}", "make a video of this {x}", "animate it {x}", "let it {v}", "make it {v}"),
            ("a video of it {x}", "I want to see it {v}"),
        ),
        "zh": (("做一段它{x}的视频", "让它{x}", "做成{x}的视频"), ("我想看它{x}",)),
    },
    "pitch": {
        "en": (("let me hear it, {x}", "play it {x}", "play its sound, {x}"), ("I want to hear it, {x}",)),
        "zh": (("播放它的声音，{x}", "让我听听它，{x}"), ("我想听它的声音，{x}",)),
    },
}
_WISHES = {"image": ("colour", COLOURS), "video": ("motion", MOTIONS), "audio": ("pitch", PITCHES)}

_COMBINE = {
    "en": (
        (
            "put them together in one picture",
            "combine them",
            "combine the picture and the sound",
            "put the sound into the picture",
            "merge them into one picture",
            "draw both together",
        ),
        ("both in one picture", "one picture of both"),
    ),
    "zh": (
        ("把它们合在一张图里", "把图和声音合起来", "合成一张图", "把它们放在一起画出来"),
        ("合在一起", "两个合成一张图"),
    ),
}


def convert(speaker: Speaker) -> Dialogue:
    """A medium in, a medium out: what the first shows and the second can carry is kept."""
    source, target = speaker.choose(speaker.source, SHOWN), speaker.choose(speaker.target, GENERATED)
    scene = speaker.scene()
    stated = carried(visible(scene, source), target)
    medium = MediaPart(source, scene)
    name, values = _WISHES[target]
    if name not in CARRIES[source] and speaker.chance(0.35):
        if name == "colour":
            values = [value for value in values if speaker.allowed(scene.thing, value)]
        stated = carried(stated | {name: speaker.pick(values)}, target)
        wish = stated[name]
        speaker.user(_WISH[name], medium, x=speaker.word(name, wish), v=MOTION_VERBS.get(wish, ""))
    else:
        speaker.user(_wording(speaker, source, target), medium)
    speaker.reply(*speaker.make(target, stated))
    return speaker.done("convert", stated, [target])


def _wording(speaker: Speaker, source: str, target: str) -> dict:
    if source == target and speaker.chance(0.5):
        return _AGAIN[target]
    return _FROM[source] if target == "image" and speaker.chance(0.3) else _CONVERT[target]


def combine(speaker: Speaker) -> Dialogue:
    """The colour and the background of a picture, with the thing of a sound."""
    speaker.choose(speaker.target, ("image",))
    shown = Speaker(speaker.rng, speaker.language, "train" if speaker.pairs == "held_out" else speaker.pairs)
    picture, sound = shown.scene(), shown.scene()
    sound = sound.with_(thing=speaker.thing_for(picture.colour, other_than=picture.thing))
    sound = sound.with_(colour=picture.colour)
    media = [MediaPart("image", picture), MediaPart("audio", sound)]
    speaker.user(_COMBINE, *(media if speaker.chance(0.5) else media[::-1]))
    stated = {"thing": sound.thing, "colour": picture.colour, "count": 1, "background": picture.background}
    speaker.reply(*speaker.make("image", stated))
    return speaker.done("combine", stated, ["image"])


_NOW = {
    "image": {
        "en": (
            ("now draw it", "draw it", "now paint it", "show me a picture of it"),
            ("and as a picture?", "a picture too"),
        ),
        "zh": (("现在画出来", "把它画出来", "再画一张它的图"), ("我也想看它的图", "图也要")),
    },
    "video": {
        "en": (
            ("now make a video of it", "make a video of it", "now animate it", "film it"),
            ("and as a video?", "a video too"),
        ),
        "zh": (("现在做成视频", "把它做成视频", "让它动起来"), ("我也想看它的视频", "视频也要")),
    },
    "audio": {
        "en": (
            ("now let me hear it", "let me hear it", "now play its sound", "play it"),
            ("what does it sound like?", "how does it sound?", "and its sound?", "the sound too"),
        ),
        "zh": (
            ("现在让我听听它", "播放它的声音", "放一下它的声音"),
            ("它是什么声音？", "我也想听它的声音", "声音也要"),
        ),
    },
}


def follow(speaker: Speaker) -> Dialogue:
    """A medium, told or shown, and then a question about it or a wish for it in another medium."""
    target = speaker.target or speaker.pick(("text", "image", "video", "audio"))
    shown = [modality for modality in SHOWN if modality != target]
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
    speaker.user(_NOW[target])
    speaker.reply(*speaker.make(target, stated))
    return speaker.done("follow", stated, [target])
