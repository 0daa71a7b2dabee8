"""What users change in an image: a change is a new scene, and the bank and the words with which it is asked for."""

from collections.abc import Callable
from typing import NamedTuple

from data.things.backgrounds import PLACES
from data.things.dialogues import composing
from data.things.dialogues.phrases import name_of, noun, plural_noun, pronoun, said_singly
from data.things.dialogues.speaker import Speaker
from data.things.scenes import MOST, POSITIONS, Placed, Scene
from data.things.words import with_article

_LARGER = {"small": "", "": "large"}
_SMALLER = {"large": "", "": "small"}


class Change(NamedTuple):
    """``shown`` becomes ``scene``, asked for with a wording of ``bank`` whose slots are ``slots``."""

    scene: Scene
    bank: str
    slots: dict[str, str]


def change(speaker: Speaker, shown: Scene, *names: str) -> Change:
    """One that is possible here, of those called ``names``, of all where none is named."""
    kinds = list(names or (*CHANGES, "colour", "colour", "add"))  # what people change most
    while kinds:
        kind = kinds.pop(int(speaker.rng.integers(len(kinds))))
        if found := CHANGES[kind](speaker, shown):
            return found
    raise ValueError(f"none of the changes {', '.join(names)} is possible")


def _colour(speaker: Speaker, shown: Scene) -> Change | None:
    nouns = composing.nouns_of(shown)
    if len(nouns) > 1:
        return _one_colour(speaker, shown)
    thing, before = nouns[0]
    colour = composing.some_colour(speaker, thing, before)
    if colour is None:
        return None
    changed = composing.changed(speaker, shown, [(thing, colour)])
    return Change(changed, "change.colour", _slots(speaker, shown, colour))


def _one_colour(speaker: Speaker, shown: Scene) -> Change | None:
    """Of several things only one becomes another colour."""
    nouns = composing.nouns_of(shown)
    at = int(speaker.rng.integers(len(nouns)))
    thing, before = nouns[at]
    colour = composing.some_colour(speaker, thing, before)
    if colour is None or [name for name, _ in nouns].count(thing) > 1:
        return None
    nouns[at] = (thing, colour)
    slots = _slots(speaker, shown, colour) | {"n": _bare(speaker, thing)}
    return Change(composing.changed(speaker, shown, nouns), "change.one_colour", slots)


def _thing(speaker: Speaker, shown: Scene) -> Change | None:
    nouns = composing.nouns_of(shown)
    at = int(speaker.rng.integers(len(nouns)))
    other = composing.same_kind(speaker, nouns[at][0])
    colour = nouns[at][1]
    if other in [name for name, _ in nouns] or not composing.may_have(speaker, other, colour):
        return None
    if shown.layout == "several" and not said_singly(other):
        return None
    before = nouns[at][0]
    nouns[at] = (other, colour)
    slots = _slots(speaker, shown) | {"n": _bare(speaker, before)}
    slots |= {"y": _a(speaker, other), "ys": plural_noun(speaker, other)}
    bank = "change.thing" if len(nouns) == 1 and shown.layout == "one" else "change.one_thing"
    bank = "change.things" if shown.layout == "several" else bank
    return Change(composing.changed(speaker, shown, nouns), bank, slots)


def _count(speaker: Speaker, shown: Scene) -> Change | None:
    nouns = composing.nouns_of(shown)
    if len(nouns) > 1 or shown.size or shown.position or not said_singly(nouns[0][0]):
        return None
    count = speaker.pick([number for number in range(2, MOST + 1) if number != shown.count])
    slots = _slots(speaker, shown) | {
        "k": speaker.say(f"number_alone.{count}"),
        "ns": plural_noun(speaker, nouns[0][0]),
    }
    return Change(composing.changed(speaker, shown, count=count), "change.count", slots)


def _single(speaker: Speaker, shown: Scene) -> Change | None:
    if shown.layout != "several":
        return None
    slots = _slots(speaker, shown) | {"n": _bare(speaker, shown.placed[0].thing)}
    return Change(composing.changed(speaker, shown, count=1), "change.single", slots)


def _size(speaker: Speaker, shown: Scene) -> Change | None:
    if shown.layout != "one":
        return None
    wish = speaker.pick(("bigger", "smaller", "small", "large"))
    size = {"bigger": _LARGER, "smaller": _SMALLER}.get(wish, {}).get(shown.size, wish)
    if size not in ("", "small", "large") or size == shown.size or not composing.fits(size, shown.position):
        return None
    bank = "change.size" if wish in ("small", "large") else f"change.{wish}"
    slots = _slots(speaker, shown) | ({"s": speaker.say(f"size.{size}")} if bank == "change.size" else {})
    return Change(composing.changed(speaker, shown, size=size), bank, slots)


def _position(speaker: Speaker, shown: Scene) -> Change | None:
    if shown.layout != "one" or shown.size == "large":
        return None
    position = speaker.pick([place for place in POSITIONS if place not in ("", shown.position)])
    slots = _slots(speaker, shown) | {"p": speaker.say(f"position.{position}")}
    return Change(composing.changed(speaker, shown, position=position), "change.position", slots)


def _background(speaker: Speaker, shown: Scene) -> Change | None:
    background = speaker.pick([place for place in PLACES if place != shown.background])
    slots = _slots(speaker, shown) | {"b": speaker.say(f"background.{background}")}
    return Change(composing.changed(speaker, shown, background=background), "change.background", slots)


def _no_background(speaker: Speaker, shown: Scene) -> Change | None:
    if not shown.background:
        return None
    slots = _slots(speaker, shown)
    return Change(composing.changed(speaker, shown, background=""), "change.no_background", slots)


def _add(speaker: Speaker, shown: Scene) -> Change | None:
    """Another thing beside, above or below what stands there alone."""
    if shown.layout != "one" or shown.size or shown.position:
        return None
    own = composing.nouns_of(shown)[0]
    other = composing.some_thing(speaker, own[0])
    new = (other, composing.some_colour(speaker, other) if speaker.chance(0.5) else None)
    where, nouns, layout = speaker.pick(
        (
            ("left", [new, own], "beside"),
            ("right", [own, new], "beside"),
            ("next", [own, new], "beside"),
            ("above", [new, own], "above"),
            ("below", [own, new], "above"),
        )
    )
    slots = _slots(speaker, shown) | {"y": noun(speaker, Placed(*new, 0, 0, 0))}
    added = composing.changed(speaker, shown.with_(layout=layout), nouns)
    return Change(added, f"change.add.{where}", slots)


def _remove(speaker: Speaker, shown: Scene) -> Change | None:
    nouns = composing.nouns_of(shown)
    if len(nouns) != 2:
        return None
    gone = nouns.pop(int(speaker.rng.integers(2)))
    slots = _slots(speaker, shown) | {"n": _bare(speaker, gone[0]), "m": _bare(speaker, nouns[0][0])}
    return Change(composing.changed(speaker, shown, nouns), "change.remove", slots)


def _swap(speaker: Speaker, shown: Scene) -> Change | None:
    """Two things change places."""
    nouns = composing.nouns_of(shown)
    if len(nouns) != 2:
        return None
    slots = _slots(speaker, shown) | {"n": _bare(speaker, nouns[0][0]), "m": _bare(speaker, nouns[1][0])}
    return Change(composing.changed(speaker, shown, nouns[::-1]), "change.swap", slots)


CHANGES: dict[str, Callable[[Speaker, Scene], Change | None]] = {
    "colour": _colour,
    "thing": _thing,
    "count": _count,
    "single": _single,
    "size": _size,
    "position": _position,
    "background": _background,
    "no_background": _no_background,
    "add": _add,
    "remove": _remove,
    "swap": _swap,
}


def _slots(speaker: Speaker, shown: Scene, colour: str = "") -> dict[str, str]:
    """ "it" or "them"; "red" and "a red"."""
    slots = {"it": pronoun(shown, speaker.language)}
    if colour:
        word = speaker.say(f"colour.{colour}")
        slots |= {"c": word, "a_c": with_article(word)}
    return slots


def _bare(speaker: Speaker, thing: str) -> str:
    return name_of(speaker, thing).removeprefix("some ")


def _a(speaker: Speaker, thing: str) -> str:
    return noun(speaker, Placed(thing, None, 0, 0, 0))
