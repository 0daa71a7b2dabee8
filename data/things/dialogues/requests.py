"""Dialogues in which a user asks for new media."""

from typing import Any

from data.things.dialogues import composing
from data.things.dialogues.contents import CONTENTS, agreeing, answer, made, some_modality, some_pair
from data.things.dialogues.parts import Dialogue
from data.things.dialogues.phrases import bare, name_of, phrase
from data.things.dialogues.speaker import Speaker
from data.things.scenes import Scene


def ask_for(speaker: Speaker, modality: str) -> Any:
    """A turn that asks for something new, and the reply that makes it. Returns what it holds."""
    content = CONTENTS[modality].new(speaker)
    speaker.user(f"request.{modality}", x=CONTENTS[modality].phrase(speaker, content))
    answer(speaker, modality, content)
    return content


def request(speaker: Speaker) -> Dialogue:
    """One medium."""
    ask_for(speaker, some_modality(speaker))
    return speaker.done("request")


def instead(speaker: Speaker) -> Dialogue:
    """A request that the user changes within the message: what was said first is not made."""
    content = composing.scene(speaker)
    speaker.user("instead", x=phrase(speaker, content), y=phrase(speaker, _other(speaker, content)))
    answer(speaker, "image", content)
    return speaker.done("instead")


def but_no(speaker: Speaker) -> Dialogue:
    """A request that says what shall not be there."""
    content = composing.scene(speaker)
    absent = composing.some_thing(speaker, *(thing for thing, _ in composing.nouns_of(content)))
    speaker.user("but_no", x=phrase(speaker, content), n=bare(name_of(speaker, absent)))
    answer(speaker, "image", content)
    return speaker.done("but_no")


def both(speaker: Speaker) -> Dialogue:
    """Two media in one reply."""
    modalities = some_pair(speaker)
    first, second = (CONTENTS[modality].new(speaker) for modality in modalities)
    wanted = list(zip(modalities, (first, second), strict=True))
    x, y = (CONTENTS[modality].phrase(speaker, content) for modality, content in wanted)
    speaker.user(f"both.{'_'.join(modalities)}", x=x, y=y)
    parts = []
    for bank, (modality, content) in zip(("first", "second"), wanted, strict=True):
        said = CONTENTS[modality].said(speaker, content)
        parts += [speaker.say(f"reply.{bank}", x=said, **agreeing(content)), made(modality, content)]
    speaker.reply_says(*parts)
    return speaker.done("both")


def _other(speaker: Speaker, content: Scene) -> Scene:
    """A scene that a user may say first and not mean: of another thing, or of another colour."""
    (thing, colour), *_ = composing.nouns_of(content)
    if len(content.placed) == 1 and colour and speaker.chance(0.5):
        other = composing.some_colour(speaker, thing, colour)
        return composing.changed(speaker, content, [(thing, other)])
    return composing.plain(speaker, composing.some_thing(speaker, *(thing for thing, _ in composing.nouns_of(content))))
