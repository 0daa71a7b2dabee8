"""Dialogues in words: requests that no decoder can meet, talk that only mentions media, small talk, thanks."""

from data.things.catalogue import catalogue
from data.things.dialogues import composing
from data.things.dialogues.contents import some_modality
from data.things.dialogues.parts import Dialogue, MediaPart, Spoken, Turn
from data.things.dialogues.phrases import bare, name_of, noun, plural_noun, said_singly
from data.things.dialogues.requests import ask_for, request
from data.things.dialogues.speaker import Speaker
from data.things.scenes import Placed


def outside(speaker: Speaker) -> Dialogue:
    """Something that cannot be made, or that nobody knows here; answered in words."""
    kind = speaker.pick(_groups(speaker, "outside"))
    thing = composing.some_thing(speaker)
    slots = {"y": _a(speaker, thing), "e": _example(speaker)}
    for name in (name for name in speaker.banks if name.startswith(f"outside.{kind}.what")):
        slots["w"] = speaker.say(name)
    speaker.user(f"outside.{kind}.asked", **slots)
    speaker.reply(f"outside.{kind}.answer", **slots)
    return speaker.done("outside", kind)


def mention(speaker: Speaker) -> Dialogue:
    """Words about media and things, and nobody asks for a medium."""
    kind = speaker.pick(_groups(speaker, "mention"))
    thing = _countable(speaker)
    slots = {"ns": plural_noun(speaker, thing), "y": _a(speaker, thing), "n": bare(name_of(speaker, thing))}
    slots |= {"us": plural_noun(speaker, thing, free=False), "k": speaker.first(f"kind.{catalogue()[thing].kind}")}
    slots["u"] = noun(speaker, Placed(thing, None, 0, 0, 0), free=False)
    speaker.user(f"mention.{kind}.said", **slots)
    speaker.reply(f"mention.{kind}.answer", **slots)
    return speaker.done("mention", kind)


def talk(speaker: Speaker) -> Dialogue:
    """One or two exchanges of small talk."""
    for kind in speaker.rng.permutation(_groups(speaker, "talk"))[: 1 + speaker.chance(0.25)]:
        speaker.user(f"talk.{kind}.said")
        speaker.reply(f"talk.{kind}.answer", e=_example(speaker))
    return speaker.done("talk", str(kind))


def thank(speaker: Speaker) -> Dialogue:
    """A medium, and then words about it that ask for nothing."""
    modality = some_modality(speaker)
    ask_for(speaker, modality)
    kind = speaker.pick(_groups(speaker, "thank"))
    speaker.user(f"thank.{kind}.said")
    speaker.reply(f"thank.{kind}.answer")
    return speaker.done("thank", kind)


def _groups(speaker: Speaker, name: str) -> list[str]:
    """The groups of exchanges under ``name``, in the order of the file."""
    return list(dict.fromkeys(bank.split(".")[1] for bank in speaker.banks if bank.startswith(f"{name}.")))


def _a(speaker: Speaker, thing: str) -> str:
    return noun(speaker, Placed(thing, None, 0, 0, 0))


def _example(speaker: Speaker) -> str:
    """Something that can be drawn, as the assistant says it."""
    thing = composing.some_thing(speaker)
    return noun(speaker, Placed(thing, composing.some_colour(speaker, thing), 0, 0, 0), free=False)


def _countable(speaker: Speaker) -> str:
    while True:
        thing = composing.some_thing(speaker)
        if said_singly(thing):
            return thing


def spoken(speaker: Speaker) -> Dialogue:
    """A request, or something else that is said, as a recording without a written word."""
    drawn = speaker.pick((request, request, request, outside, talk))(speaker)
    number = int(speaker.rng.integers(2**31))
    speaker.turns[0] = Turn("user", (MediaPart("audio", Spoken(speaker.turns[0].text, number)),))
    return speaker.done("spoken", drawn.expected["topic"], drawn.expected["answer"])
