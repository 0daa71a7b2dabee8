"""Dialogues with questions about media: shown now, shown before, and several of them."""

from collections.abc import Callable
from typing import Any

from data.things.dialogues import composing, moving, sounding
from data.things.dialogues.contents import agreeing, answer
from data.things.dialogues.followups import ORDINALS, show
from data.things.dialogues.parts import Dialogue, MediaPart, Unknown
from data.things.dialogues.phrases import bare, name_of, noun, phrase, plural_noun, said
from data.things.dialogues.questions import QUESTIONS, question, said_nouns, usual
from data.things.dialogues.requests import ask_for
from data.things.dialogues.speaker import Speaker
from data.things.scenes import Placed, Scene
from data.things.words import NUMBERS

Answer = tuple[str, tuple[str, ...]]


def ask(speaker: Speaker) -> Dialogue:
    """An image and one to three questions about it."""
    shown = composing.scene(speaker)
    topic, words = _ask(speaker, shown, MediaPart("image", shown))
    asked = {topic}
    for _ in range(int(speaker.rng.choice((0, 1, 2), p=(0.6, 0.28, 0.12)))):
        names = [name for name in QUESTIONS if name not in asked]
        topic, words = _ask(speaker, shown, names=tuple(names))
        asked.add(topic)
    return speaker.done("ask", topic, words)


def where(speaker: Speaker) -> Dialogue:
    """An image of one, two or three things, and their boxes."""
    shown = composing.scene(speaker, speaker.pick(("one", "beside", "above", "three")))
    topic, words = _ask(speaker, shown, MediaPart("image", shown), names=("box",))
    if speaker.chance(0.3):
        topic, words = _ask(speaker, shown, names=("side", "colour", "position", "count_all"))
    return speaker.done("where", topic, words)


def own(speaker: Speaker) -> Dialogue:
    """A question about what the assistant made."""
    shown = ask_for(speaker, "image")
    topic, words = _ask(speaker, shown, names=("what", "colour", "count", "position", "side", "which", "box", "no"))
    return speaker.done("own", topic, words)


def earlier(speaker: Speaker) -> Dialogue:
    """A question about an image that was shown before something else."""
    shown = show(speaker)
    while True:
        content = composing.scene(speaker)
        if not set(_things(content)) & set(_things(shown)):
            break
    speaker.user("and_now", x=phrase(speaker, content))
    answer(speaker, "image", content)
    found = question(speaker, shown, "what", "colour", "count", "background", "position")
    past = found.bank.replace("ask.", "earlier.")
    speaker.user(past if past in speaker.banks else "earlier.what", **found.slots)
    speaker.reply(
        found.answer if past in speaker.banks else "answer.what",
        **agreeing(shown),
        **_with_x(speaker, shown, found.slots),
    )
    return speaker.done("earlier", found.topic, found.words)


def compare(speaker: Speaker) -> Dialogue:
    """Two images in one message or one after the other, and a question about both."""
    first = composing.scene(speaker)
    second = _second(speaker, first)
    media = MediaPart("image", first), MediaPart("image", second)
    kinds = list(_COMPARISONS)
    found = None
    while found is None:
        kind = kinds.pop(int(speaker.rng.integers(len(kinds))))
        found = _COMPARISONS[kind](speaker, first, second)
    slots, said_so, words = found
    if speaker.chance(0.6):
        speaker.user(f"compare.{kind}", *media, **slots)
    else:
        speaker.user("showing", media[0])
        speaker.reply("reply.shown", x=said(speaker, first), **agreeing(first))
        speaker.user(f"compare.{kind}", media[1], **slots)
    speaker.reply(f"answer.{said_so}", **slots)
    return speaker.done("compare", kind, words)


def count_media(speaker: Speaker) -> Dialogue:
    """Two to four images, in a row or at once, then how many there were, or how many showed some thing."""
    first = composing.plain(speaker)
    thing = first.placed[0].thing
    contents = [first]
    for _ in range(speaker.pick((1, 2, 3))):
        same = speaker.chance(0.4)
        contents.append(
            composing.plain(speaker, thing) if same else composing.plain(speaker, composing.some_thing(speaker, thing))
        )
    media = [MediaPart("image", content) for content in contents]
    at_once = speaker.chance(0.3)
    for part in () if at_once else media:
        speaker.user("showing", part)
        speaker.reply("reply.shown", x=said(speaker, part.content), **agreeing(part.content))
    of_thing = speaker.chance(0.5)
    count = sum(thing == content.placed[0].thing for content in contents) if of_thing else len(contents)
    number = NUMBERS[count] if speaker.language == "en" else speaker.first(f"number.{count}")
    topic = "count_thing" if of_thing else "count"
    slots = {"n": bare(name_of(speaker, thing)), "y": noun(speaker, Placed(thing, None, 0, 0, 0))}
    speaker.user(f"media.{topic}", *(media if at_once else ()), **slots)
    speaker.reply(
        f"answer.media.{topic}{'_one' if count == 1 else ''}",
        k=number,
        x=usual(speaker, thing),
        y=noun(speaker, Placed(thing, None, 0, 0, 0), free=False),
    )
    return speaker.done("count_media", topic, (number,))


def listen(speaker: Speaker) -> Dialogue:
    """A sound, a video or a point cloud and a question about it."""
    modality = speaker.pick(("audio", "audio", "video", "video", "points"))
    draw, questions = {
        "audio": (sounding.new, sounding.question),
        "video": (moving.new, moving.question),
        "points": (moving.new_points, moving.points_question),
    }[modality]
    content: Any = draw(speaker)
    asked, answered, slots, word = questions(speaker, content)
    speaker.user(asked, MediaPart(modality, content), **slots)
    speaker.reply(answered, **slots)
    following = questions(speaker, content)
    if following[0] != asked and speaker.chance(0.3):
        asked, answered, slots, word = following
        speaker.user(asked, **slots)
        speaker.reply(answered, **slots)
    return speaker.done("listen", asked, (word,) if word else ())


def unsure(speaker: Speaker) -> Dialogue:
    """A medium that shows nothing of the world."""
    number = Unknown(int(speaker.rng.integers(2**31)), int(speaker.rng.integers(2**31)))
    modality = speaker.pick(("image", "image", "audio", "video"))
    speaker.user(f"unsure.{modality}", MediaPart(modality, number))
    speaker.reply("answer.unsure")
    return speaker.done("unsure")


def _ask(speaker: Speaker, shown: Scene, *media: MediaPart, names: tuple[str, ...] = ()) -> Answer:
    try:
        found = question(speaker, shown, *names)
    except ValueError:
        found = question(speaker, shown, "what")
    speaker.user(found.bank, *media, **found.slots)
    speaker.reply(found.answer, **agreeing(shown), **found.slots)
    return found.topic, found.words


def _with_x(speaker: Speaker, shown: Scene, slots: dict[str, str]) -> dict[str, str]:
    return {"x": said_nouns(speaker, shown)} | slots


def _second(speaker: Speaker, first: Scene) -> Scene:
    """A second image: one that shares something with the first as often as not."""
    if speaker.chance(0.3):
        return composing.scene(speaker)
    (thing, colour), *_ = composing.nouns_of(first)
    if speaker.chance(0.2):
        return composing.plain(speaker, thing, colour)
    if speaker.chance(0.5):
        return composing.plain(speaker, thing, composing.some_colour(speaker, thing, colour))
    while True:
        other = composing.some_thing(speaker, thing)
        if composing.may_have(speaker, other, colour):
            return composing.plain(speaker, other, colour)


def _things(shown: Scene) -> list[str]:
    return [thing for thing, _ in composing.nouns_of(shown)]


Compared = tuple[dict[str, str], str, tuple[str, ...]] | None


def _difference(speaker: Speaker, first: Scene, second: Scene) -> Compared:
    x, y = said_nouns(speaker, first), said_nouns(speaker, second)
    return ({"x": x, "y": y}, "compare.difference", (x, y)) if x != y else None


def _same(speaker: Speaker, first: Scene, second: Scene) -> Compared:
    if len(set(_things(first))) > 1 or len(set(_things(second))) > 1:
        return None
    slots = {"x": said_nouns(speaker, first), "y": said_nouns(speaker, second)}
    slots |= {"u": plural_noun(speaker, first.placed[0].thing, free=False)}
    if _things(first) != _things(second):
        return slots, "compare.other", ()
    if slots["x"] == slots["y"]:
        return slots, "compare.same", ()
    return slots, "compare.same_thing", ()


def _which(speaker: Speaker, first: Scene, second: Scene) -> Compared:
    """Which of the two shows a thing."""
    at = int(speaker.rng.integers(2))
    own, other = (first, second)[at], (second, first)[at]
    thing = speaker.pick(_things(own))
    if thing in _things(other):
        return None
    return _nth(speaker, at, y=noun(speaker, Placed(thing, None, 0, 0, 0)))


def _which_colour(speaker: Speaker, first: Scene, second: Scene) -> Compared:
    at = int(speaker.rng.integers(2))
    own, other = (first, second)[at], (second, first)[at]
    colours = {colour for _, colour in composing.nouns_of(own)}
    colour = next(iter(colours))
    # What has its natural colours may be of this colour, too.
    if len(colours) > 1 or not colour or {None, colour} & {each for _, each in composing.nouns_of(other)}:
        return None
    return _nth(speaker, at, c=speaker.say(f"colour.{colour}"))


def _more(speaker: Speaker, first: Scene, second: Scene) -> Compared:
    if first.count == second.count:
        return None
    return _nth(speaker, int(second.count > first.count))


def _nth(speaker: Speaker, at: int, **slots: str) -> Compared:
    nth = speaker.first(f"nth.{ORDINALS[at]}")
    return slots | {"nth": nth}, "compare.nth", (nth,)


_COMPARISONS: dict[str, Callable[[Speaker, Scene, Scene], Compared]] = {
    "difference": _difference,
    "same": _same,
    "which": _which,
    "which_colour": _which_colour,
    "more": _more,
}
