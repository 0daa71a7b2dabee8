"""Dialogues answered in words about media: describe, ask, cannot_tell, count and own."""

from data.toybox.dialogues.generate import GENERATED, request, state
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker, Turn, lower_first
from data.toybox.world import CARRIES, COUNTS, MODALITIES, Scene, visible


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
