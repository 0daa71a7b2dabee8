"""Dialogues about several media: compare and recall."""

from __future__ import annotations

from data.toybox.dialogue_parts import Dialogue, MediaPart, Speaker
from data.toybox.dialogue_perceive import description
from data.toybox.world import Scene

_SAME = {
    "en": ((), ("are these the same thing?", "is it the same thing?", "do they show the same thing?", "same thing?",
                "are they the same?", "do these belong together?")),
    "zh": ((), ("它们是同一种东西吗？", "这两个一样吗？", "是同一种东西吗？", "它们一样吗？")),
}  # fmt: skip
_WHICH = {
    "en": ((), ("which one is {x}?", "which is {x}?", "which of them is {x}?", "which of the two is {x}?")),
    "zh": ((), ("哪一个是{x}？", "哪个是{x}？", "这两个里哪个是{x}？", "{x}是哪一个？")),
}
_DIFFERENCE = {
    "thing": {
        "en": (
            ("tell them apart", "name both things"),
            ("what are these two?", "what are they?", "what is the first one and what is the second one?"),
        ),
        "zh": (("说出这两个是什么", "分别说说这两个"), ("这两个是什么？", "它们分别是什么？")),
    },
    "colour": {
        "en": (
            ("compare their colours", "name both colours"),
            ("what colours are they?", "how do their colours differ?", "what is the difference in colour?"),
        ),
        "zh": (("比较它们的颜色",), ("它们的颜色有什么不同？", "颜色有什么不同？", "它们分别是什么颜色？")),
    },
}
_SHOW = {
    "en": (
        ("remember this", "look at this", "keep this in mind", "remember this {m}", "take this {m}"),
        ("here is a {m}", "this is for later"),
    ),
    "zh": (("记住这个", "看看这个", "先记住它", "收下这个"), ("这个先放着", "给你一个{m}")),
}
_WHAT = {
    "en": ((), ("what is this?", "what is it?", "and this?", "what's this?")),
    "zh": ((), ("这是什么？", "它是什么？", "这个呢？")),
}
_RECALL = {
    "en": (
        ("tell me what the {r} was", "describe the {r} again", "remind me of the {r}"),
        (
            "what was the {r}?",
            "what did the {r} show?",
            "do you remember the {r}?",
            "what was in the {r}?",
            "and the {r}?",
        ),
    ),
    "zh": (
        ("说说{r}是什么", "再说一次{r}"),
        ("{r}是什么？", "你还记得{r}吗？", "{r}里有什么？", "刚才{r}是什么来着？"),
    ),
}
_PLAY = {
    "audio": {
        "en": (
            (
                "play the sound of the thing in the {r}",
                "let me hear the {r}",
                "play the {r}",
                "play the sound of the {r}",
            ),
            ("what does the {r} sound like?", "how does the {r} sound?"),
        ),
        "zh": (("播放{r}的声音", "让我听听{r}"), ("{r}是什么声音？", "我想听{r}的声音")),
    },
    "image": {
        "en": (
            ("draw the {r}", "draw the thing in the {r}", "paint the {r}", "make a picture of the {r}"),
            ("a picture of the {r}",),
        ),
        "zh": (("画出{r}", "把{r}画出来"), ("我想看{r}的图",)),
    },
}
_NAMES = {
    "en": {"image": "picture", "video": "video", "audio": "sound"},
    "zh": {"image": "张图", "video": "段视频", "audio": "段声音"},
}
_ORDINALS = {"en": ("first", "second", "third"), "zh": ("第一", "第二", "第三")}
_REMEMBERED = {"en": "I will remember it.", "zh": "我记住了。"}


def _two(speaker: Speaker, modalities: tuple[str, ...], same_thing: bool) -> list[MediaPart]:
    """Two single things that differ in colour, and in kind unless ``same_thing``."""
    first, second = speaker.scene(), speaker.scene()
    while first.colour == second.colour or (first.thing == second.thing) != same_thing:
        first, second = speaker.scene(), speaker.scene()
    scenes = first.with_(count=1), second.with_(count=1)
    return [MediaPart(modality, scene) for modality, scene in zip(modalities, scenes, strict=True)]


def compare(speaker: Speaker) -> Dialogue:
    form = speaker.pick(("same", "same", "which", "which", "difference"))
    seen = speaker.source in (None, "image", "video")
    name = "colour" if form != "same" and seen and speaker.chance(0.5) else "thing"
    choices = ("image", "video") if name == "colour" else ("image", "video", "audio")
    modalities = (speaker.choose(speaker.source, choices), speaker.pick(choices))
    media = _two(speaker, modalities, same_thing=form == "same" and speaker.chance(0.5))
    return {"same": _same, "which": _which, "difference": _difference}[form](speaker, media, name)


def _same(speaker: Speaker, media: list[MediaPart], name: str) -> Dialogue:
    things = [medium.scene.thing for medium in media]
    speaker.user(_SAME, *media)
    if things[0] == things[1]:
        both = (
            f"是的，都是{speaker.noun(things[0])}。"
            if speaker.language == "zh"
            else f"Yes, both are {speaker.noun(things[0], count=2)}."
        )
        speaker.reply(both)
        return speaker.done("compare", {"answer": "yes", "thing": things[0]})
    sentence = _one_by_one(speaker, media, "thing")
    speaker.reply(f"不是，{sentence}" if speaker.language == "zh" else f"No, {sentence[0].lower()}{sentence[1:]}")
    return speaker.done("compare", {"answer": "no", "things": tuple(things)})


def _which(speaker: Speaker, media: list[MediaPart], name: str) -> Dialogue:
    number = int(speaker.rng.integers(2))
    scene = media[number].scene
    shown = _value(speaker, scene, name)
    asked = shown if name == "colour" or speaker.language == "zh" else f"the {speaker.noun(scene.thing)}"
    speaker.user(_WHICH, *media, x=asked)
    which = _ORDINALS[speaker.language][number]
    speaker.reply(f"{which}个是{shown}。" if speaker.language == "zh" else f"The {which} one is {shown}.")
    return speaker.done("compare", {"answer": ("first", "second")[number], name: getattr(scene, name)})


def _difference(speaker: Speaker, media: list[MediaPart], name: str) -> Dialogue:
    speaker.user(_DIFFERENCE[name], *media)
    speaker.reply(_one_by_one(speaker, media, name))
    return speaker.done("compare", {f"{name}s": tuple(getattr(medium.scene, name) for medium in media)})


def _one_by_one(speaker: Speaker, media: list[MediaPart], name: str) -> str:
    first, second = (_value(speaker, medium.scene, name) for medium in media)
    if speaker.language == "zh":
        return f"第一个是{first}，第二个是{second}。"
    return f"The first one is {first}, the second one is {second}."


def _value(speaker: Speaker, scene: Scene, name: str) -> str:
    if name == "thing":
        return speaker.a(scene.thing)
    return speaker.plain_word("colour", scene.colour) + ("的" if speaker.language == "zh" else "")


def recall(speaker: Speaker) -> Dialogue:
    """Media in earlier turns, and a question about one of them."""
    count = int(speaker.rng.choice((1, 2, 3), p=(0.2, 0.6, 0.2)))
    modalities = [speaker.pick(tuple(_NAMES["en"])) for _ in range(count)]
    number = int(speaker.rng.integers(count))
    if speaker.source:
        modalities[number] = speaker.choose(speaker.source, tuple(_NAMES["en"]))
    media = [MediaPart(modality, speaker.scene().with_(count=1)) for modality in modalities]
    for medium in media:
        _show(speaker, medium)
    return _recalled(speaker, media[number], _reference(speaker, modalities, number))


def _show(speaker: Speaker, medium: MediaPart) -> None:
    """The medium's own turn: looked at in silence, so that only the medium can tell later, or named."""
    if speaker.chance(0.6):
        name = _NAMES[speaker.language][medium.modality]
        speaker.user(_SHOW, medium, m=name[1:] if speaker.language == "zh" else name)
        speaker.reply(_REMEMBERED[speaker.language])
    else:
        speaker.user(_WHAT, medium)
        speaker.reply(description(speaker, {"thing": medium.scene.thing, "count": 1}, medium.modality))


def _reference(speaker: Speaker, modalities: list[str], number: int) -> str:
    """ "first picture" counts pictures, "second one" counts everything, "sound" stands for the only one."""
    names, ordinals = _NAMES[speaker.language], _ORDINALS[speaker.language]
    modality = modalities[number]
    chinese = speaker.language == "zh"
    if speaker.chance(0.35):
        return f"{ordinals[number]}个" if chinese else f"{ordinals[number]} one"
    if modalities.count(modality) == 1 and speaker.chance(0.5):
        return f"那{names[modality]}" if chinese else names[modality]
    ordinal = ordinals[modalities[: number + 1].count(modality) - 1]
    return ordinal + names[modality] if chinese else f"{ordinal} {names[modality]}"


def _recalled(speaker: Speaker, medium: MediaPart, reference: str) -> Dialogue:
    target = speaker.target or speaker.pick(("text", "text", "text", "image", "audio"))
    seen = {} if medium.modality == "audio" else {"colour": medium.scene.colour}
    stated = {"thing": medium.scene.thing} | seen
    if target == "text":
        speaker.user(_RECALL, r=reference)
        phrase = speaker.plain(stated, medium.modality)
        speaker.reply(f"那是{phrase}。" if speaker.language == "zh" else f"It was {phrase}.")
        return speaker.done("recall", stated)
    target = speaker.choose(target, tuple(_PLAY))
    stated = {"thing": medium.scene.thing} if target == "audio" else stated | {"count": 1}
    speaker.user(_PLAY[target], r=reference)
    speaker.reply(*speaker.make(target, stated))
    return speaker.done("recall", stated, [target])
