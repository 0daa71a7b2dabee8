"""Dialogues that make no media: text_to_text, decline and talk."""

from data.toybox.dialogues.perceive import fact, question_slots
from data.toybox.dialogues.speaker import Dialogue, MediaPart, Speaker, upper_first
from data.toybox.language.grammar import article
from data.toybox.world import CARRIES, MODALITIES, THINGS, visible

#: The last nouns of ``unknown.things`` are kept from training: pairs="held_out" uses them.
HELD_OUT_UNKNOWN = 10


def text_to_text(speaker: Speaker) -> Dialogue:
    """Riddles, sounds, kinds, and questions about something described."""
    form = speaker.pick(("riddle", "riddle", "sound", "kind", "described", "described"))
    if form in ("sound", "kind"):
        return _fact(speaker, form)
    return _riddle(speaker) if form == "riddle" else _described(speaker)


def _riddle(speaker: Speaker) -> Dialogue:
    thing = speaker.pick(THINGS)
    speaker.user("riddle", x=speaker.pick(speaker.table(f"facts.{thing}.clues")))
    speaker.reply(speaker.say("answer_riddle", x=speaker.a(thing)))
    return speaker.done("text_to_text", {"thing": thing})


def _fact(speaker: Speaker, topic: str) -> Dialogue:
    """How a thing sounds, or what kind of thing it is."""
    thing = speaker.pick(THINGS)
    name = speaker.a(thing)
    speaker.user(topic, x=name)
    speaker.reply(speaker.say(topic, x=upper_first(name), fact=speaker.table(f"facts.{thing}.{topic}")))
    return speaker.done("text_to_text", {"thing": thing})


def _described(speaker: Speaker) -> Dialogue:
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
    opening = speaker.pick(speaker.table("told.heard" if modality == "audio" else "told.seen"))
    opening = opening.format(x=speaker.phrase(stated, modality)) + speaker.table("space")
    questions = speaker.table(f"user.ask.{asked}.sentences")
    speaker.user_says((), [opening + each for each in questions], **question_slots(speaker, scene, modality))
    speaker.reply(fact(speaker, scene, asked, modality))
    return speaker.done("text_to_text", {"thing": scene.thing, asked: getattr(scene, asked)})


def decline(speaker: Speaker) -> Dialogue:
    """A medium, a thing, a colour or a question from outside the world."""
    source = speaker.source or speaker.pick(("image", "image", "video", "audio", "audio", "points", "text", "text"))
    if source == "text":
        _unknown_words(speaker, speaker.pick(("thing", "thing", "thing", "question", "colour")))
    else:
        number = (int(speaker.rng.integers(2**31)), int(speaker.rng.integers(2**31)))
        speaker.user("unknown.medium", MediaPart(speaker.choose(source, MODALITIES), None, number))
    speaker.reply(speaker.say("decline"))
    return speaker.done("decline", unknown=True)


def _unknown_words(speaker: Speaker, form: str) -> None:
    if form == "question":
        speaker.user("unknown.question")
        return
    if form == "colour":
        colour, thing = speaker.pick(speaker.table("unknown.colours")), speaker.noun(speaker.pick(THINGS))
        speaker.user("unknown.thing", x=speaker.table("coloured_thing").format(colour=colour, n=thing))
        return
    nouns = speaker.table("unknown.things")
    name = speaker.pick(nouns[-HELD_OUT_UNKNOWN:] if speaker.pairs == "held_out" else nouns[:-HELD_OUT_UNKNOWN])
    if speaker.language == "en":
        if speaker.chance(0.4):
            name = f"{speaker.word('colour', speaker.scene().colour)} {name}"
        name = f"{article(name)} {name}"
    speaker.user("unknown.thing", x=name)


def talk(speaker: Speaker) -> Dialogue:
    """Small talk: greetings, thanks, who are you."""
    exchange = speaker.pick(speaker.table("small_talk"))
    speaker.user_says((), exchange["said"])
    speaker.reply(exchange["answer"])
    return speaker.done("talk")
