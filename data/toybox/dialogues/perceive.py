"""Dialogues answered in words about media: describe, ask, cannot_tell, count, own; of several: compare and recall."""

from data.toybox.dialogues.generate import GENERATED, request, state
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker, Turn, lower_first
from data.toybox.world import CARRIES, COUNTS, MODALITIES, Scene, visible

SHOWN = ("image", "video", "audio")


def description(speaker: Speaker, attributes: dict, modality: str) -> str:
    """ "This is a small red bell at the top left, in the snow." """
    opening = "these_are" if attributes.get("count", 1) > 1 else "this_is"
    return speaker.say(opening, x=speaker.plain(attributes, modality))


def fact(speaker: Speaker, scene: Scene, name: str, modality: str) -> str:
    """The sentence that names the thing and one of its attributes: "The bell is red." """
    count = scene.count if modality == "image" else 1
    noun = speaker.noun(scene.thing, modality, count)
    if name == "thing" and count > 1:
        return speaker.say("these_are", x=noun)
    if name == "thing":
        return description(speaker, {"thing": scene.thing, "count": count}, modality)
    if name == "count":
        shown = speaker.plain({"thing": scene.thing, "count": count})
        return speaker.say("there_are" if count > 1 else "there_is", x=shown, n=noun)
    words = speaker.plain_word(name, getattr(scene, name))
    return speaker.say(f"fact.{name}", n=noun, w=words, be="are" if count > 1 else "is")


def question_slots(speaker: Speaker, scene: Scene, modality: str) -> dict[str, str]:
    """What questions name: the thing's noun ``n``, its plural ``p``, its measure word ``m``, and is or are ``be``."""
    count = scene.count if modality == "image" else 1
    return {
        "n": speaker.noun(scene.thing, modality, count),
        "p": speaker.noun(scene.thing, None, 2),
        "m": speaker.measure_word(scene.thing),
        "be": "are" if count > 1 else "is",
    }


def question(speaker: Speaker, scene: Scene, name: str, modality: str, *media: MediaPart) -> None:
    """A user turn that asks for one attribute."""
    speaker.user(f"ask.{name}", *media, **question_slots(speaker, scene, modality))


def describe(speaker: Speaker) -> Dialogue:
    modality = speaker.choose(speaker.source, MODALITIES)
    scene = speaker.scene()
    medium = MediaPart(modality, scene)
    if speaker.language == "en" and speaker.chance(0.06):
        speaker.turns.append(Turn("user", (medium,)))  # attached without a word
    else:
        _ask_for_description(speaker, medium)
    attributes = visible(scene, modality)
    speaker.reply(description(speaker, attributes, modality))
    return speaker.done("describe", attributes)


def _ask_for_description(speaker: Speaker, medium: MediaPart) -> None:
    speaker.user("describe.any" if speaker.chance(0.35) else f"describe.{medium.modality}", medium)


def show(speaker: Speaker, scene: Scene, modality: str) -> None:
    """A first pair of turns about a medium: described, or only named."""
    medium = MediaPart(modality, scene)
    if speaker.chance(0.4):
        _ask_for_description(speaker, medium)
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
    modality = speaker.choose(speaker.source, MODALITIES)
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
    answer = "yes" if value == getattr(scene, name) else "no"
    speaker.user("is_it", MediaPart(modality, scene), x=speaker.value(name, value, modality))
    speaker.reply(speaker.say(answer, x=lower_first(fact(speaker, scene, name, modality))))
    return speaker.done("ask", {"answer": answer, "thing": scene.thing, name: getattr(scene, name)})


def cannot_tell(speaker: Speaker) -> Dialogue:
    """A question after something that the medium does not carry, such as the colour of a sound."""
    modality = speaker.choose(speaker.source, MODALITIES)
    scene = speaker.scene().with_(count=1)
    others = [name for name in ("colour", "place", "background", "motion", "pitch") if name not in CARRIES[modality]]
    question(speaker, scene, speaker.pick(others), modality, MediaPart(modality, scene))
    speaker.reply(speaker.say("cannot_tell"))
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
    scene = request(speaker, modality, stated)
    question(speaker, scene, name, modality)
    speaker.reply(fact(speaker, scene, name, modality))
    return speaker.done("own", {"thing": scene.thing, name: getattr(scene, name)}, asked=name)


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
