"""Questions about an image that is shown, and their true answers."""

from collections.abc import Callable
from typing import NamedTuple

from data.boxes import format_box
from data.things.catalogue import catalogue
from data.things.dialogues import composing
from data.things.dialogues.phrases import bare, measure_word, name_of, noun, plural_noun, pronoun, said, said_singly
from data.things.dialogues.speaker import Speaker
from data.things.rendering import boxes
from data.things.scenes import Placed, Scene
from data.things.words import NUMBERS


class Question(NamedTuple):
    """Asked with a wording of ``bank``, answered with one of ``answer``; ``words`` are what the answer must hold."""

    topic: str
    bank: str
    answer: str
    slots: dict[str, str]
    words: tuple[str, ...]


def question(speaker: Speaker, shown: Scene, *names: str) -> Question:
    """One that the image answers, of those called ``names``, of all by their weights where none is named."""
    known = {name: (QUESTIONS[name], 1.0) for name in names} if names else _WEIGHTED
    kinds = list(known)
    while kinds:
        weights = [known[kind][1] for kind in kinds]
        at = int(speaker.rng.choice(len(kinds), p=[weight / sum(weights) for weight in weights]))
        kind = kinds.pop(at)
        if found := known[kind][0](speaker, shown):
            bank, answer, slots, *words = found
            return Question(kind, f"ask.{bank}", f"answer.{answer}", slots, tuple(words))
    raise ValueError(f"the image answers none of {', '.join(names)}")


Found = tuple[str, str, dict[str, str], *tuple[str, ...]] | None


def _what(speaker: Speaker, shown: Scene) -> Found:
    return "what", "what", {"x": said_nouns(speaker, shown)}, *names_said(speaker, shown)


def _describe(speaker: Speaker, shown: Scene) -> Found:
    return "describe", "describe", {"x": said(speaker, shown)}, *names_said(speaker, shown)


def _colour(speaker: Speaker, shown: Scene) -> Found:
    nouns = [(thing, colour) for thing, colour in composing.nouns_of(shown) if colour]
    if not nouns:
        return None
    thing, colour = speaker.pick(nouns)
    slots = _about(speaker, shown, thing) | {"c": speaker.first(f"colour.{colour}")}
    alone = len(composing.nouns_of(shown)) == 1
    return (
        "colour" if alone and speaker.chance(0.5) else f"colour_of{_s(shown)}",
        f"colour{_s(shown)}",
        slots,
        slots["c"],
    )


def _count(speaker: Speaker, shown: Scene) -> Found:
    thing = shown.placed[0].thing
    if len(composing.nouns_of(shown)) > 1 or not said_singly(thing):
        return None
    number = NUMBERS[shown.count] if speaker.language == "en" else speaker.first(f"number.{shown.count}")
    usual_many = plural_noun(speaker, thing, free=False)
    counted = usual_many if shown.count > 1 else usual(speaker, thing)
    slots = {"k": number, "ns": plural_noun(speaker, thing), "n": counted, "m": measure_word(speaker, thing)}
    return "count", "count" if shown.count > 1 else "count_one", slots, number


def _count_all(speaker: Speaker, shown: Scene) -> Found:
    nouns = composing.nouns_of(shown)
    if len(nouns) < 2:
        return None
    number = NUMBERS[len(nouns)] if speaker.language == "en" else speaker.first(f"number.{len(nouns)}")
    return "count_all", "count_all", {"k": number, "x": said_nouns(speaker, shown)}, number


def _size(speaker: Speaker, shown: Scene) -> Found:
    if shown.layout != "one":
        return None
    slots = _about(speaker, shown, shown.placed[0].thing)
    size = speaker.first(f"size.{shown.size}") if shown.size else speaker.first("size_middle")
    return "size", "size", slots | {"s": size}, size


def _position(speaker: Speaker, shown: Scene) -> Found:
    """Where the one thing is."""
    if shown.layout != "one":
        return None
    slots = _about(speaker, shown, shown.placed[0].thing)
    place = speaker.first(f"position.{shown.position}") if shown.position else speaker.first("position_middle")
    return "where", "where", slots | {"p": place}, place


def _side(speaker: Speaker, shown: Scene) -> Found:
    """Where one of two things is, said by the other."""
    nouns = composing.nouns_of(shown)
    if shown.layout not in ("beside", "above"):
        return None
    at = int(speaker.rng.integers(2))
    place = (("left", "right") if shown.layout == "beside" else ("top", "bottom"))[at]
    words = speaker.first(f"position.{place}")
    slots = _about(speaker, shown, nouns[at][0]) | {"p": words, "o": usual(speaker, nouns[1 - at][0])}
    return "where", f"side.{place}", slots, words


def _beside(speaker: Speaker, shown: Scene) -> Found:
    """Which thing is to the left, right, above or below."""
    if shown.layout not in ("beside", "above"):
        return None
    nouns = composing.nouns_of(shown)
    at = int(speaker.rng.integers(2))
    place = (("left", "right") if shown.layout == "beside" else ("top", "bottom"))[at]
    other = nouns[1 - at][0]
    slots = {"o": _name(speaker, other), "x": _said_noun(speaker, *nouns[at])}
    return f"which.{place}", "which", slots, usual(speaker, nouns[at][0])


def _middle(speaker: Speaker, shown: Scene) -> Found:
    if shown.layout != "three":
        return None
    at = int(speaker.rng.integers(3))
    thing, colour = composing.nouns_of(shown)[at]
    place = ("left", "middle", "right")[at]
    return f"which_three.{place}", "which", {"x": _said_noun(speaker, thing, colour)}, usual(speaker, thing)


def _box(speaker: Speaker, shown: Scene) -> Found:
    """Where a thing is, as a box."""
    nouns = composing.nouns_of(shown)
    if shown.layout == "several" or [name for name, _ in nouns].count(nouns[0][0]) > 1:
        return None
    at = int(speaker.rng.integers(len(nouns)))
    box = format_box(boxes(shown)[at])
    return "box", "box", _about(speaker, shown, nouns[at][0]) | {"box": box}, box


def _background(speaker: Speaker, shown: Scene) -> Found:
    it = pronoun(shown, speaker.language)
    if not shown.background:
        return "background", "plain", {"it": it}
    place = speaker.first(f"background_noun.{shown.background}")
    return "background", "background", {"b": place, "it": it}, place


def _yes(speaker: Speaker, shown: Scene) -> Found:
    thing, colour = speaker.pick(composing.nouns_of(shown))
    if shown.layout == "several":
        return "is_there_several", "yes", {"ys": plural_noun(speaker, thing), "x": said_nouns(speaker, shown)}
    asked = noun(speaker, Placed(thing, colour if speaker.chance(0.4) else None, 0, 0, 0))
    return "is_there", "yes", {"y": asked, "x": said_nouns(speaker, shown)}


def _no(speaker: Speaker, shown: Scene) -> Found:
    """No such thing, or not in this colour."""
    thing, colour = speaker.pick(composing.nouns_of(shown))
    other = composing.some_colour(speaker, thing, colour)
    if colour and other and shown.layout != "several" and speaker.chance(0.4):
        asked = noun(speaker, Placed(thing, other, 0, 0, 0))
    else:
        absent = composing.same_kind(speaker, thing) if speaker.chance(0.5) else composing.some_thing(speaker, thing)
        if absent in _things(shown):
            return None
        asked = noun(speaker, Placed(absent, None, 0, 0, 0))
    return "is_there", "no", {"y": asked, "x": said_nouns(speaker, shown)}


def _kind(speaker: Speaker, shown: Scene) -> Found:
    nouns = composing.nouns_of(shown)
    if len(nouns) > 1 or shown.layout == "several":
        return None
    kind = speaker.first(f"kind.{catalogue()[nouns[0][0]].kind}")
    return "kind", "kind", {"k": kind, "x": _said_noun(speaker, nouns[0][0], None)}, kind


QUESTIONS: dict[str, Callable[[Speaker, Scene], Found]] = {
    "what": _what,
    "describe": _describe,
    "colour": _colour,
    "count": _count,
    "count_all": _count_all,
    "size": _size,
    "position": _position,
    "side": _side,
    "which": _beside,
    "which_three": _middle,
    "box": _box,
    "background": _background,
    "yes": _yes,
    "no": _no,
    "kind": _kind,
}
_WEIGHTS = {
    "what": 2.5,
    "describe": 1.5,
    "colour": 2.0,
    "box": 2.5,
    "side": 1.5,
    "which": 1.5,
    "kind": 0.3,
    "size": 0.6,
}
_WEIGHTED = {name: (ask, _WEIGHTS.get(name, 1.0)) for name, ask in QUESTIONS.items()}


def said_nouns(speaker: Speaker, shown: Scene) -> str:
    """The things alone, "a red cat and a green dog", as the assistant says them."""
    return said(speaker, composing.nowhere(shown))


def usual(speaker: Speaker, thing: str) -> str:
    """The usual name without an article."""
    return bare(catalogue()[thing].names[speaker.language][0])


def names_said(speaker: Speaker, shown: Scene) -> tuple[str, ...]:
    """The usual names of the things, in the plural where there are several of one, without articles and colours."""
    if shown.layout == "several":
        return (plural_noun(speaker, shown.placed[0].thing, free=False).split(" of ")[-1],)
    return tuple(usual(speaker, thing).split(" of ")[-1] for thing in _things(shown))


def _things(shown: Scene) -> list[str]:
    return [thing for thing, _ in composing.nouns_of(shown)]


def _said_noun(speaker: Speaker, thing: str, colour: str | None) -> str:
    return noun(speaker, Placed(thing, colour, 0, 0, 0), free=False)


def _name(speaker: Speaker, thing: str) -> str:
    return bare(name_of(speaker, thing))


def _s(shown: Scene) -> str:
    return "_many" if shown.count > 1 and shown.layout == "several" else ""


def _about(speaker: Speaker, shown: Scene, thing: str) -> dict[str, str]:
    """Names of a thing: {n} as users say it, {u} as the assistant does, both in the plural where there are several."""
    it = pronoun(shown.with_(placed=tuple(each for each in shown.placed if each.thing == thing)), speaker.language)
    if shown.layout == "several":
        return {"n": plural_noun(speaker, thing), "u": plural_noun(speaker, thing, free=False), "it": it}
    name, own = name_of(speaker, thing), catalogue()[thing].names[speaker.language][0]
    return {"n": bare(name), "be": _be(name), "u": bare(own), "are": _be(own), "it": it}


def _be(name: str) -> str:
    return "are" if name.startswith("some ") and name.endswith("s") else "is"
