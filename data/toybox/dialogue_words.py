"""Dialogues that make no media: text_to_text, decline and talk."""

from __future__ import annotations

from data.toybox.dialogue_facts import (
    DECLINE,
    FACTS_CHINESE,
    FACTS_ENGLISH,
    HELD_OUT_UNKNOWN,
    TALK,
    UNKNOWN_CHINESE,
    UNKNOWN_COLOURS,
    UNKNOWN_ENGLISH,
    UNKNOWN_QUESTIONS,
)
from data.toybox.dialogue_parts import Dialogue, MediaPart, Speaker
from data.toybox.dialogue_perceive import QUESTIONS, fact
from data.toybox.grammar_english import article
from data.toybox.lexicon import MEASURE_WORDS
from data.toybox.world import CARRIES, THINGS, visible

_RIDDLE = {
    "en": ((), ("{x}. what is it?", "{x}. what is that?", "{x}. which thing is that?", "what is it? {x}",
                "a riddle: {x}. what is it?", "guess: {x}")),
    "zh": ((), ("{x}。它是什么？", "{x}。这是什么？", "{x}。是什么东西？", "猜一猜：{x}", "猜谜：{x}。是什么？")),
}  # fmt: skip
_SOUND = {
    "en": (
        (),
        ("what sound does {x} make?", "which sound does {x} make?", "what does {x} do?", "what noise does {x} make?"),
    ),
    "zh": ((), ("{x}怎么响？", "{x}发出什么声音？", "{x}会做什么？", "{x}会发出什么声音？")),
}
_KIND = {
    "en": ((), ("what kind of thing is {x}?", "what sort of thing is {x}?", "what is {x}?", "what kind is {x}?")),
    "zh": ((), ("{x}是哪一类东西？", "{x}属于哪一类？", "{x}是什么？", "{x}是什么类型？")),
}
_TOLD = {
    "en": ("I see {x}.", "there is {x}.", "I have {x}.", "imagine {x}.", "here is {x}."),
    "zh": ("我看到{x}。", "这里有{x}。", "我有{x}。", "想象{x}。", "有{x}。"),
}
_HEARD = {"en": ("I hear {x}.", "listen, {x}.", "imagine {x}."), "zh": ("我听到{x}。", "听，{x}。", "想象{x}。")}
_UNKNOWN_THING = {
    "en": (
        ("draw {x}", "show me {x}", "make a video of {x}", "play the sound of {x}", "let me hear {x}", "paint {x}",
         "make a picture of {x}", "describe {x}", "film {x}", "animate {x}"),
        ("{x}", "a picture of {x}", "what is {x}?", "what sound does {x} make?", "I want to see {x}",
         "make it {x} instead"),
    ),
    "zh": (
        ("画{x}", "画一个{x}", "播放{x}的声音", "让我听听{x}的声音", "做一段视频：{x}", "描述{x}", "画出{x}"),
        ("我想看{x}", "{x}是什么？", "{x}怎么响？", "我想听{x}的声音", "给我看{x}", "来一张图：{x}"),
    ),
}  # fmt: skip
_UNKNOWN_MEDIUM = {
    "en": (
        ("describe this", "describe it", "tell me what this is", "tell me about this", "draw this", "draw it",
         "make a video of this", "make a video of it", "play this", "let me hear it", "play its sound", "make it blue",
         "tell me what you see", "tell me what you hear", "animate this", "turn this into a picture"),
        ("what is this?", "what is it?", "what do you see?", "what do you hear?", "what colour is it?", "where is it?",
         "how many are there?", "what does this sound like?", "what happens here?", "do you know what this is?",
         "is it a bell?", "how often?", "what is the background?", "how does it move?"),
    ),
    "zh": (
        ("描述一下", "说说这个", "画出来", "把它画出来", "做成视频", "把它变成视频", "播放它的声音", "让我听听它",
         "说说你看到了什么", "说说你听到了什么"),
        ("这是什么？", "它是什么？", "你看到了什么？", "你听到了什么？", "它是什么颜色的？", "它在哪里？", "有几个？",
         "它是什么声音？", "发生了什么？", "你知道这是什么吗？", "响了几次？", "背景是什么？", "它在做什么？"),
    ),
}  # fmt: skip


def text_to_text(speaker: Speaker) -> Dialogue:
    """Riddles, sounds, kinds, and questions about something told."""
    return speaker.pick((_riddle, _riddle, _sound, _kind, _told, _told))(speaker)


def _facts(speaker: Speaker, thing: str) -> tuple[tuple[str, ...], str, str]:
    return (FACTS_CHINESE if speaker.language == "zh" else FACTS_ENGLISH)[thing]


def _riddle(speaker: Speaker) -> Dialogue:
    thing = speaker.pick(THINGS)
    speaker.user(_RIDDLE, x=speaker.pick(_facts(speaker, thing)[0]))
    speaker.reply(f"那是{speaker.noun(thing)}。" if speaker.language == "zh" else f"That is {speaker.a(thing)}.")
    return speaker.done("text_to_text", {"thing": thing})


def _sound(speaker: Speaker) -> Dialogue:
    thing = speaker.pick(THINGS)
    name, does = speaker.a(thing), _facts(speaker, thing)[1]
    speaker.user(_SOUND, x=name)
    speaker.reply(f"{name}会{does}。" if speaker.language == "zh" else f"{name[0].upper()}{name[1:]} {does}.")
    return speaker.done("text_to_text", {"thing": thing})


def _kind(speaker: Speaker) -> Dialogue:
    thing = speaker.pick(THINGS)
    name, kind = speaker.a(thing), _facts(speaker, thing)[2]
    speaker.user(_KIND, x=name)
    speaker.reply(f"{name}是{kind}。" if speaker.language == "zh" else f"{name[0].upper()}{name[1:]} is {kind}.")
    return speaker.done("text_to_text", {"thing": thing})


def _told(speaker: Speaker) -> Dialogue:
    """Something described in words, and a question about it."""
    modality = speaker.pick(("image", "image", "video", "audio"))
    scene = speaker.scene()
    asked = speaker.pick(CARRIES[modality])
    stated = {
        name: value
        for name, value in visible(scene, modality).items()
        if name in ("thing", "count", asked) or speaker.chance(0.5)
    }
    if scene.count > 1:
        stated = {name: value for name, value in stated.items() if name not in ("size", "place") or name == asked}
    told = speaker.pick((_HEARD if modality == "audio" else _TOLD)[speaker.language])
    told = told.format(x=speaker.phrase(stated, modality))
    space = "" if speaker.language == "zh" else " "
    _, questions = QUESTIONS[asked][speaker.language]
    templates = {speaker.language: ((), tuple(f"{told}{space}{each}" for each in questions))}
    count = scene.count if modality == "image" else 1
    speaker.user(
        templates,
        n=speaker.noun(scene.thing, modality, count),
        p=speaker.noun(scene.thing, None, 2),
        m=MEASURE_WORDS[scene.thing],
        be="are" if count > 1 else "is",
    )
    speaker.reply(fact(speaker, scene, asked, modality))
    return speaker.done("text_to_text", {"thing": scene.thing, asked: getattr(scene, asked)})


def decline(speaker: Speaker) -> Dialogue:
    """A medium, a thing, a colour or a question from outside the world."""
    source = speaker.source or speaker.pick(("image", "image", "video", "audio", "audio", "points", "text", "text"))
    if source == "text":
        speaker.pick((_unknown_thing, _unknown_thing, _unknown_thing, _unknown_question, _unknown_colour))(speaker)
    else:
        outsider = (int(speaker.rng.integers(2**31)), int(speaker.rng.integers(2**31)))
        medium = MediaPart(speaker.choose(source, ("image", "video", "audio", "points")), None, outsider)
        speaker.user(_UNKNOWN_MEDIUM, medium)
    speaker.reply(DECLINE[speaker.language])
    return speaker.done("decline", unknown=True)


def _unknown_thing(speaker: Speaker) -> None:
    nouns = UNKNOWN_CHINESE if speaker.language == "zh" else UNKNOWN_ENGLISH
    held_out = speaker.pairs == "held_out"
    name = speaker.pick(nouns[-HELD_OUT_UNKNOWN:] if held_out else nouns[:-HELD_OUT_UNKNOWN])
    if speaker.language == "zh":
        speaker.user(_UNKNOWN_THING, x=name)
        return
    if speaker.chance(0.4):
        name = f"{speaker.word('colour', speaker.scene().colour)} {name}"
    speaker.user(_UNKNOWN_THING, x=f"{article(name)} {name}")


def _unknown_question(speaker: Speaker) -> None:
    speaker.user({speaker.language: ((), UNKNOWN_QUESTIONS[speaker.language])})


def _unknown_colour(speaker: Speaker) -> None:
    colour, thing = speaker.pick(UNKNOWN_COLOURS[speaker.language]), speaker.noun(speaker.pick(THINGS))
    speaker.user(_UNKNOWN_THING, x=f"{colour}的{thing}" if speaker.language == "zh" else f"a {colour} {thing}")


def talk(speaker: Speaker) -> Dialogue:
    said, answer = speaker.pick(TALK[speaker.language])
    speaker.user({speaker.language: ((), said)})
    speaker.reply(answer)
    return speaker.done("talk")
