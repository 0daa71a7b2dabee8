"""Dialogues about several media: compare and recall."""

from data.toybox.dialogues.perceive import description
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker, lower_first
from data.toybox.world import Scene

SHOWN = ("image", "video", "audio")


def compare(speaker: Speaker) -> Dialogue:
    """Two media, and whether they show the same thing, which of them shows something, or how they differ."""
    form = speaker.pick(("same", "same", "which", "which", "difference"))
    seen = speaker.source in (None, "image", "video")
    name = "colour" if form != "same" and seen and speaker.chance(0.5) else "thing"
    choices = ("image", "video") if name == "colour" else SHOWN
    modalities = (speaker.choose(speaker.source, choices), speaker.pick(choices))
    same = form == "same" and speaker.chance(0.5) and speaker.pairs != "held_out"  # held out are pairs of one colour
    scenes = _two_scenes(speaker, same)
    media = [MediaPart(modality, scene) for modality, scene in zip(modalities, scenes, strict=True)]
    if form == "same":
        speaker.user("compare.same", *media)
        return speaker.done("compare", _same(speaker, scenes))
    values = [getattr(scene, name) for scene in scenes]
    if form == "difference":
        speaker.user(f"compare.difference_{name}", *media)
        speaker.reply(_one_by_one(speaker, name, values))
        return speaker.done("compare", {f"{name}s": tuple(values)})
    number = int(speaker.rng.integers(2))
    shown = speaker.value(name, values[number])
    thing = speaker.table("asked_thing").format(n=speaker.noun(scenes[number].thing))
    speaker.user("compare.which", *media, x=shown if name == "colour" else thing)
    speaker.reply(speaker.say("which", ordinal=speaker.table("ordinals")[number], x=shown))
    return speaker.done("compare", {"answer": ("first", "second")[number], name: values[number]})


def _two_scenes(speaker: Speaker, same_thing: bool) -> list[Scene]:
    """Two single things that differ in colour, and in kind unless ``same_thing``."""
    first, second = speaker.scene(), speaker.scene()
    while first.colour == second.colour or (first.thing == second.thing) != same_thing:
        first, second = speaker.scene(), speaker.scene()
    return [first.with_(count=1), second.with_(count=1)]


def _same(speaker: Speaker, scenes: list[Scene]) -> dict:
    """The reply to "Are these the same thing?", and what it must hold."""
    things = tuple(scene.thing for scene in scenes)
    if things[0] == things[1]:
        speaker.reply(speaker.say("both", n=speaker.noun(things[0], count=2)))
        return {"answer": "yes", "thing": things[0]}
    speaker.reply(speaker.say("no", x=lower_first(_one_by_one(speaker, "thing", things))))
    return {"answer": "no", "things": things}


def _one_by_one(speaker: Speaker, name: str, values: list[str] | tuple[str, ...]) -> str:
    first, second = (speaker.value(name, value) for value in values)
    return speaker.say("one_by_one", first=first, second=second)


def recall(speaker: Speaker) -> Dialogue:
    """Media in earlier turns, and a question about one of them."""
    count = int(speaker.rng.choice((1, 2, 3), p=(0.2, 0.6, 0.2)))
    modalities = [speaker.pick(SHOWN) for _ in range(count)]
    number = int(speaker.rng.integers(count))
    if speaker.source:
        modalities[number] = speaker.choose(speaker.source, SHOWN)
    media = [(modality, speaker.scene().with_(count=1)) for modality in modalities]
    for modality, scene in media:
        _show(speaker, modality, scene)
    return _recalled(speaker, *media[number], _reference(speaker, modalities, number))


def _show(speaker: Speaker, modality: str, scene: Scene) -> None:
    """The medium's own turn: shown without being named, so that only the medium itself can tell later, or named."""
    medium = MediaPart(modality, scene)
    if speaker.chance(0.6):
        speaker.user("remember", medium, m=speaker.table("media")[modality]["noun"])
        speaker.reply(speaker.say("remembered"))
    else:
        speaker.user("name", medium)
        speaker.reply(description(speaker, {"thing": scene.thing, "count": 1}, modality))


def _reference(speaker: Speaker, modalities: list[str], number: int) -> str:
    """ "first picture" counts pictures, "second one" counts everything, "sound" stands for the only one."""
    forms, ordinals, modality = speaker.table("references"), speaker.table("ordinals"), modalities[number]
    counted = speaker.table("media")[modality]["counted"]
    if speaker.chance(0.35):
        return forms["numbered"].format(ordinal=ordinals[number])
    if modalities.count(modality) == 1 and speaker.chance(0.5):
        return forms["only"].format(counted=counted)
    return forms["of_kind"].format(ordinal=ordinals[modalities[: number + 1].count(modality) - 1], counted=counted)


def _recalled(speaker: Speaker, modality: str, scene: Scene, reference: str) -> Dialogue:
    target = speaker.target or speaker.pick(("text", "text", "text", "image", "audio"))
    seen = {} if modality == "audio" else {"colour": scene.colour}
    stated = {"thing": scene.thing} | seen
    speaker.user(f"recall.{speaker.choose(target, ('text', 'audio', 'image'))}", r=reference)
    if target == "text":
        speaker.reply(speaker.say("it_was", x=speaker.plain(stated, modality)))
        return speaker.done("recall", stated)
    stated = {"thing": scene.thing} if target == "audio" else stated | {"count": 1}
    speaker.reply(*speaker.make(target, stated))
    return speaker.done("recall", stated, [target])
