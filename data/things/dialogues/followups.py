"""Dialogues that go on from a medium: changes, corrections, both things in one picture, and earlier media again."""

from data.things.dialogues import composing, moving, sounding
from data.things.dialogues.changes import change
from data.things.dialogues.contents import CONTENTS, agreeing, answer, some_modality
from data.things.dialogues.parts import Dialogue, MediaPart
from data.things.dialogues.phrases import bare, name_of, phrase, pronoun, said
from data.things.dialogues.questions import names_said
from data.things.dialogues.requests import ask_for
from data.things.dialogues.speaker import Speaker
from data.things.scenes import Scene

ORDINALS = ("first", "second", "third")


def edit(speaker: Speaker) -> Dialogue:
    """An image, asked for or shown, and one to three changes of it."""
    shown: tuple[MediaPart, ...] = ()
    if speaker.chance(0.75):
        content = ask_for(speaker, "image")
    else:
        content = composing.scene(speaker)
        shown = (MediaPart("image", content),)
    for _ in range(int(speaker.rng.choice((1, 2, 3), p=(0.6, 0.28, 0.12)))):
        found = change(speaker, content)
        bank = "change.of_shown" if shown else found.bank
        wish = {"wish": speaker.say(found.bank, **found.slots)} if shown else {}
        speaker.user(bank, *shown, **found.slots, **wish)
        content, shown = found.scene, ()
        answer(speaker, "image", content)
    return speaker.done("edit")


def edit_other(speaker: Speaker) -> Dialogue:
    """A sound or a video that is asked for, and one or two changes of it."""
    modality = speaker.pick(("audio", "video"))
    changes = {"audio": sounding.change, "video": moving.change}[modality]
    content = ask_for(speaker, modality)
    for _ in range(1 if speaker.chance(0.7) else 2):
        content, bank, slots = changes(speaker, content)
        speaker.user(bank, **slots)
        answer(speaker, modality, content)
    return speaker.done("edit_other")


def correct(speaker: Speaker) -> Dialogue:
    """The assistant made what the user said, and the user meant something else."""
    content = ask_for(speaker, "image")
    found = change(speaker, content, "thing", "colour", "position", "background", "count", "size")
    kind = found.bank.removeprefix("change.")
    speaker.user(f"correct.{kind}" if f"correct.{kind}" in speaker.banks else found.bank, **found.slots)
    answer(speaker, "image", found.scene, "reply.corrected")
    return speaker.done("correct")


def together(speaker: Speaker) -> Dialogue:
    """Two things one after the other, then both in one image."""
    nouns = []
    for number in range(2):
        thing = composing.some_thing(speaker, *(name for name, _ in nouns))
        colour = composing.some_colour(speaker, thing) if speaker.chance(0.5) else None
        content = composing.plain(speaker, thing, colour)
        nouns.append((thing, colour))
        speaker.user("and_now" if number else "request.image", x=phrase(speaker, content))
        answer(speaker, "image", content)
    layout = speaker.pick(("beside", "above", "beside"))
    names = [bare(name_of(speaker, thing)) for thing, _ in nouns]
    speaker.user(f"together.{layout}", n=names[0], m=names[1])
    answer(speaker, "image", composing.compose(speaker.rng, nouns, layout))
    return speaker.done("together")


def again(speaker: Speaker) -> Dialogue:
    """Two or three media; then one of them again, as it was or with a change."""
    contents = [ask_for(speaker, "image") for _ in range(speaker.pick((2, 2, 3)))]
    at = int(speaker.rng.integers(len(contents)))
    content = contents[at]
    slots = {"nth": speaker.say(f"nth.{ordinal(at, len(contents), speaker)}")}
    if speaker.chance(0.5):
        speaker.user("again", **slots)
        answer(speaker, "image", content, "reply.again")
        return speaker.done("again")
    found = change(speaker, content, "colour", "background", "count", "size")
    wish = speaker.say(found.bank, **found.slots)
    speaker.user("again_but", **slots, wish=wish)
    answer(speaker, "image", found.scene)
    return speaker.done("again")


def ordinal(at: int, count: int, speaker: Speaker) -> str:
    """ "first", "last"."""
    return "last" if at == count - 1 and speaker.chance(0.4) else ORDINALS[at]


def remember(speaker: Speaker) -> Dialogue:
    """Two or three media, made or shown; then a question about which was which, in words."""
    count = speaker.pick((2, 2, 3))
    contents = [ask_for(speaker, "image") if speaker.chance(0.6) else show(speaker) for _ in range(count)]
    at = int(speaker.rng.integers(count))
    which = ordinal(at, count, speaker)
    speaker.user("remember", nth=speaker.say(f"nth.{which}"))
    speaker.reply("reply.remember", x=said(speaker, contents[at]), nth=speaker.first(f"nth.{which}"))
    return speaker.done("remember", answer=names_said(speaker, contents[at]))


def show(speaker: Speaker) -> Scene:
    """A turn that shows an image, and a short reply that says what it is."""
    content = composing.scene(speaker)
    speaker.user("showing", MediaPart("image", content))
    speaker.reply("reply.shown", x=said(speaker, content), **agreeing(content))
    return content


def redraw(speaker: Speaker) -> Dialogue:
    """A medium that is shown and then made anew: what it shows is kept."""
    content = composing.scene(speaker)
    speaker.user("redraw", MediaPart("image", content), it=pronoun(content, speaker.language))
    answer(speaker, "image", content)
    return speaker.done("redraw")


def more(speaker: Speaker) -> Dialogue:
    """A medium and then something else, asked for in few words."""
    modality = some_modality(speaker)
    ask_for(speaker, modality)
    content = CONTENTS[modality].new(speaker)
    speaker.user(
        f"and_now_{modality}" if modality != "image" else "and_now", x=CONTENTS[modality].phrase(speaker, content)
    )
    answer(speaker, modality, content)
    return speaker.done("more")
