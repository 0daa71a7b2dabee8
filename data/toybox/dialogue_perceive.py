"""Dialogues answered in words about media: describe, ask, count, compare, own."""

from __future__ import annotations

from data.toybox.dialogue_generate import GENERATED, request, state
from data.toybox.dialogue_parts import Dialogue, MediaPart, Speaker, Turn
from data.toybox.lexicon import MEASURE_WORDS
from data.toybox.world import CARRIES, COUNTS, Scene, visible

SEEN = ("image", "video", "audio", "points")

_ANY = {
    "en": (
        ("describe this", "tell me about this", "describe it", "explain this", "tell me everything about this"),
        ("what do we have here?", "describe"),
    ),
    "zh": (("描述一下", "说说这个", "描述一下这个", "介绍一下这个"), ("这里有什么？", "描述")),
}
_DESCRIBE = {
    "image": {
        "en": (
            ("describe this picture", "describe the image", "tell me what you see"),
            ("what do you see?", "what is in this picture?", "what does the picture show?", "what can you see here?"),
        ),
        "zh": (("描述这张图", "说说你看到了什么"), ("你看到了什么？", "图里有什么？", "这张图是什么？")),
    },
    "video": {
        "en": (
            ("describe this video", "describe the clip", "tell me what happens"),
            ("what happens here?", "what happens in this video?", "what does the video show?"),
        ),
        "zh": (("描述这段视频", "说说视频里有什么"), ("视频里有什么？", "发生了什么？", "这段视频是什么？")),
    },
    "audio": {
        "en": (
            ("describe this sound", "describe the recording", "tell me what you hear"),
            ("what do you hear?", "what can you hear?", "what is in this recording?"),
        ),
        "zh": (("描述这个声音", "说说你听到了什么"), ("你听到了什么？", "这段录音里有什么？", "能听到什么？")),
    },
    "points": {
        "en": (
            ("describe these points", "describe this shape", "describe the point cloud"),
            ("what shape is this?", "what do the points show?", "what is in this point cloud?"),
        ),
        "zh": (("描述这个点云", "描述这个形状"), ("这个点云是什么？", "这是什么形状？", "点云里有什么？")),
    },
}

#: Questions after a single attribute. {n} is the thing's noun, {be} is or are.
QUESTIONS = {
    "thing": {
        "en": ((), ("what is this?", "what is it?", "what's this?", "which thing is this?", "what is that?",
                    "do you know what this is?")),
        "zh": ((), ("这是什么？", "它是什么？", "这是什么东西？", "你知道这是什么吗？", "是什么？")),
    },
    "colour": {
        "en": (("tell me the colour",), ("what colour is it?", "which colour is it?", "what color is it?",
                                         "what is its colour?", "what colour {be} the {n}?")),
        "zh": ((), ("它是什么颜色的？", "什么颜色？", "颜色是什么？", "{n}是什么颜色的？", "它的颜色呢？")),
    },
    "count": {
        "en": (("count them", "count the {p}"), ("how many are there?", "how many {p} are there?", "how many {p}?",
                                                 "how many do you see?", "how many {p} do you see?")),
        "zh": (("数一数",), ("有几{m}{n}？", "有多少{n}？", "几{m}？", "一共有几{m}？", "有几个？")),
    },
    "size": {
        "en": (("tell me the size",), ("how big is it?", "how large is it?", "what size is it?",
                                       "how big {be} the {n}?")),
        "zh": ((), ("它有多大？", "多大？", "大小怎么样？", "{n}有多大？")),
    },
    "place": {
        "en": (("tell me the place",), ("where is it?", "where in the picture is it?", "where {be} the {n}?",
                                        "in which place is it?")),
        "zh": ((), ("它在哪里？", "在哪儿？", "{n}在哪里？", "在什么位置？")),
    },
    "background": {
        "en": (("tell me the background",), ("what is the background?", "what is in the background?",
                                             "which background is it?", "what is behind it?")),
        "zh": ((), ("背景是什么？", "什么背景？", "它的背景是什么？", "后面是什么？")),
    },
    "motion": {
        "en": (("tell me how it moves",), ("how does it move?", "what is it doing?", "what does it do?",
                                           "how is the {n} moving?", "what is the {n} doing?")),
        "zh": ((), ("它在做什么？", "它怎么动？", "{n}在做什么？", "怎么动的？")),
    },
    "pitch": {
        "en": (("tell me the pitch",), ("how is the pitch?", "is it high or low?", "what is the pitch?",
                                        "how high is it?")),
        "zh": ((), ("音调怎么样？", "音调高还是低？", "它的音调怎么样？", "声音高还是低？")),
    },
    "pace": {
        "en": (("tell me the pace",), ("how fast is it?", "is it fast or slow?", "what is the pace?",
                                       "how fast does it go?")),
        "zh": ((), ("节奏怎么样？", "快还是慢？", "有多快？", "它的节奏怎么样？")),
    },
    "repeats": {
        "en": (("count the sounds",), ("how often?", "how many times?", "how often do you hear it?",
                                       "how many times does it sound?", "how often does it sound?")),
        "zh": ((), ("响了几次？", "有几次？", "几次？", "一共几次？")),
    },
}  # fmt: skip

_CHINESE_FACTS = {
    "colour": "{n}是{w}的。",
    "size": "{n}是{w}的。",
    "place": "{n}在{w}。",
    "background": "{n}的背景是{w}。",
    "motion": "{n}正在{w}。",
    "pitch": "{n}的{w}。",
    "pace": "{n}的{w}。",
    "repeats": "{n}响了{w}。",
}

_CANNOT_TELL = {"en": "I can't tell that from this.", "zh": "从这个看不出来。"}

_IS_IT = {
    "en": ((), ("is it {x}?", "is this {x}?", "is that {x}?")),
    "zh": ((), ("这是{x}吗？", "它是{x}吗？", "是{x}吗？")),
}


def description(speaker: Speaker, attributes: dict, modality: str) -> str:
    """ "This is a small red bell at the top left, in the snow." """
    if speaker.language == "zh":
        return f"这是{speaker.plain(attributes, modality)}。"
    opening = "These are" if attributes.get("count", 1) > 1 else "This is"
    return f"{opening} {speaker.plain(attributes, modality)}."


def fact(speaker: Speaker, scene: Scene, name: str, modality: str | None) -> str:
    """The sentence that names the thing and one of its attributes: "The bell is red." """
    count = scene.count if modality == "image" else 1
    noun = speaker.noun(scene.thing, modality, count)
    if name == "thing":
        return (
            description(speaker, {"thing": scene.thing, "count": count}, modality)
            if count == 1
            else _plural(speaker, noun)
        )
    if name == "count":
        shown = speaker.plain({"thing": scene.thing, "count": count})
        if speaker.language == "zh":
            return f"有{shown}。"
        return f"There are {shown}." if count > 1 else f"There is one {noun}."
    words = speaker.plain_word(name, getattr(scene, name))
    if speaker.language == "zh":
        return _CHINESE_FACTS[name].format(n=noun, w=words)
    verb = "sounds" if name in ("pitch", "pace", "repeats") else "are" if count > 1 else "is"
    return f"The {noun} {verb} {words}."


def _plural(speaker: Speaker, noun: str) -> str:
    return f"这是{noun}。" if speaker.language == "zh" else f"These are {noun}."


def question(speaker: Speaker, scene: Scene, name: str, modality: str, *media: MediaPart) -> None:
    """A user turn that asks for one attribute."""
    count = scene.count if modality == "image" else 1
    speaker.user(
        QUESTIONS[name],
        *media,
        n=speaker.noun(scene.thing, modality, count),
        p=speaker.noun(scene.thing, None, 2),
        m=MEASURE_WORDS[scene.thing],
        be="are" if count > 1 else "is",
    )


def describe(speaker: Speaker) -> Dialogue:
    modality = speaker.choose(speaker.source, SEEN)
    scene = speaker.scene()
    medium = MediaPart(modality, scene)
    if speaker.language == "en" and speaker.chance(0.06):
        speaker.turns.append(Turn("user", (medium,)))  # attached without a word
    else:
        speaker.user(_ANY if speaker.chance(0.35) else _DESCRIBE[modality], medium)
    attributes = visible(scene, modality)
    speaker.reply(description(speaker, attributes, modality))
    return speaker.done("describe", attributes)


def show(speaker: Speaker, scene: Scene, modality: str) -> None:
    """A first pair of turns about a medium: described, or only named."""
    medium = MediaPart(modality, scene)
    if speaker.chance(0.4):
        speaker.user(_ANY if speaker.chance(0.35) else _DESCRIBE[modality], medium)
        speaker.reply(description(speaker, visible(scene, modality), modality))
    else:
        question(speaker, scene, "thing", modality, medium)
        speaker.reply(fact(speaker, scene, "thing", modality))


def ask_about(speaker: Speaker, scene: Scene, modality: str) -> Dialogue:
    """A further question about the medium that was shown before."""
    name = speaker.pick(CARRIES[modality])
    question(speaker, scene, name, modality)
    speaker.reply(fact(speaker, scene, name, modality))
    return speaker.done("follow", {"thing": scene.thing, name: getattr(scene, name)})


def ask(speaker: Speaker) -> Dialogue:
    modality = speaker.choose(speaker.source, SEEN)
    scene = speaker.scene()
    name = speaker.pick(CARRIES[modality])
    if name in ("thing", "colour") and speaker.chance(0.2):
        return _yes_or_no(speaker, scene, name, modality)
    question(speaker, scene, name, modality, MediaPart(modality, scene))
    speaker.reply(fact(speaker, scene, name, modality))
    return speaker.done("ask", {"thing": scene.thing, name: getattr(scene, name)})


def _yes_or_no(speaker: Speaker, scene: Scene, name: str, modality: str) -> Dialogue:
    scene = scene.with_(count=1)
    true = speaker.chance(0.5)
    other = speaker.scene()
    value = getattr(scene if true else other, name)
    true = value == getattr(scene, name)
    asked = speaker.a(value, modality) if name == "thing" else speaker.plain_word(name, value)
    if speaker.language == "zh" and name == "colour":
        asked += "的"
    speaker.user(_IS_IT, MediaPart(modality, scene), x=asked)
    sentence = fact(speaker, scene, name, modality)
    if speaker.language == "zh":
        speaker.reply(("是的，" if true else "不是，") + sentence)
    else:
        speaker.reply(("Yes, " if true else "No, ") + sentence[0].lower() + sentence[1:])
    attributes = {"answer": "yes" if true else "no", "thing": scene.thing, name: getattr(scene, name)}
    return speaker.done("ask", attributes)


def cannot_tell(speaker: Speaker) -> Dialogue:
    """A question after something that the medium does not carry, such as the colour of a sound."""
    modality = speaker.choose(speaker.source, SEEN)
    scene = speaker.scene().with_(count=1)
    others = [name for name in ("colour", "place", "background", "motion", "pitch") if name not in CARRIES[modality]]
    question(speaker, scene, speaker.pick(others), modality, MediaPart(modality, scene))
    speaker.reply(_CANNOT_TELL[speaker.language])
    return speaker.done("cannot_tell", {"cannot_tell": True})


def count(speaker: Speaker) -> Dialogue:
    speaker.choose(speaker.source, ("image",))
    scene = speaker.scene().with_(count=int(speaker.pick(COUNTS)))
    question(speaker, scene, "count", "image", MediaPart("image", scene))
    speaker.reply(fact(speaker, scene, "count", "image"))
    return speaker.done("count", {"thing": scene.thing, "count": scene.count})


def own(speaker: Speaker) -> Dialogue:
    """A question about what the medium that the assistant has just made shows beyond what was asked for."""
    modality = speaker.choose(speaker.target, GENERATED)
    stated = state(speaker, modality, colour=False)
    names = [name for name in CARRIES[modality] if name not in stated]
    name = speaker.pick(["colour", *names]) if modality == "image" else speaker.pick(names or ["thing"])
    request(speaker, modality, stated)
    scene = speaker.turns[-1].parts[-1].scene
    question(speaker, scene, name, modality)
    speaker.reply(fact(speaker, scene, name, modality))
    return speaker.done("own", {"thing": scene.thing, name: getattr(scene, name)}, asked=name)
