"""Scenes in words: as users say them, freely, and as the assistant says them, in the usual words of things."""

import hashlib
import re

from data.things.catalogue import catalogue
from data.things.dialogues.speaker import Speaker
from data.things.scenes import Placed, Scene
from data.things.sprites import COLOURS
from data.things.words import NUMBERS, plural, with_article

#: Share of the names of things, the usual ones apart, that training never says.
HELD_OUT_NAMES = 0.2
#: "a pair of red gloves": where a noun of this form takes its colour and size.
_PART = re.compile(
    r"^((?:pair|bunch|piece|stack|handful|plate|bowl|ball|spool|block|bar|slice|loaf|portion|box) of )(.*)$"
)
_TWO = re.compile(r"^(some|pair of|notes|lips|stairs)\b")


def held_out_name(name: str) -> bool:
    """Whether training never says this name of a thing, where it is not the usual one."""
    return hashlib.sha256(name.encode()).digest()[0] < 256 * HELD_OUT_NAMES


def name_of(speaker: Speaker, thing: str, free: bool = True) -> str:
    """A name of a thing: the usual one for the assistant, any for users."""
    names = catalogue()[thing].names[speaker.language]
    # "a red brown bear" would be odd.
    others = [
        name for name in names[1:] if held_out_name(name) == speaker.held_out and not {*name.split()} & {*COLOURS}
    ]
    return speaker.pick(others) if free and others and speaker.chance(0.9 if speaker.held_out else 0.4) else names[0]


def bare(name: str) -> str:
    return name.removeprefix("some ")


def said_singly(thing: str) -> bool:
    """Whether there can be two of it in words: no "some broccoli"."""
    return not catalogue()[thing].names["en"][0].startswith("some ")


def pronoun(scene: Scene, language: str) -> str:
    """ "it" or "them"."""
    if language == "zh":
        return "它们" if scene.count > 1 else "它"
    return "them" if scene.count > 1 or _TWO.match(scene.placed[0].thing) else "it"


# Users


def phrase(speaker: Speaker, scene: Scene) -> str:
    """All that ``scene`` says, as a user might say it."""
    if scene.layout == "several":
        words = several(speaker, scene)
    elif scene.layout == "one":
        words = noun(speaker, scene.placed[0], scene.size)
    else:
        words = _relation(speaker, scene)
    place = speaker.say(f"position.{scene.position}") if scene.position else ""
    behind = speaker.say(f"background.{scene.background}") if scene.background else ""
    if speaker.language == "zh":
        many = "_many" if behind and len(set(scene.placed)) > 1 and scene.layout != "several" else ""
        return speaker.say(f"scene.{'p' if place else ''}{'b' if behind else ''}x{many}", x=words, p=place, b=behind)
    if place and behind:
        return speaker.pick((f"{words} {place} {behind}", f"{words} {behind}, {place}", f"{words} {place}, {behind}"))
    return f"{words}{speaker.pick((' ', ', ')) if behind and ' and ' in words else ' '}{place or behind}".strip()


def noun(speaker: Speaker, placed: Placed, size: str = "", free: bool = True) -> str:
    """ "a small red cat"."""
    name = name_of(speaker, placed.thing, free)
    colour = _word(speaker, "colour", placed.colour or "", free)
    large = _word(speaker, "size", size, free)
    if speaker.language == "zh":
        return _chinese_noun(speaker, placed.thing, name, colour, large, "一")
    if colour and free and speaker.chance(0.12):
        return f"{_with_words(name, large, '')} {speaker.say('colour_after', c=colour)}"
    return _with_words(name, large, colour)


def several(speaker: Speaker, scene: Scene, free: bool = True) -> str:
    """ "three red cats"."""
    placed = scene.placed[0]
    colour = _word(speaker, "colour", placed.colour or "", free)
    if speaker.language == "zh":
        name = name_of(speaker, placed.thing, free)
        return _chinese_noun(speaker, placed.thing, name, colour, "", _word(speaker, "number", str(scene.count), free))
    number = speaker.say(f"number.{scene.count}") if free else NUMBERS[scene.count]
    return f"{number} {plural_noun(speaker, placed.thing, colour, free)}"


def plural_noun(speaker: Speaker, thing: str, colour: str = "", free: bool = True) -> str:
    """ "red cats", "pairs of red gloves"; in Chinese the noun."""
    name = name_of(speaker, thing, free)
    if speaker.language == "zh":
        return colour + name
    if name.startswith("some ") or re.search(r"[^s]s$", name.split(" of ")[0]):
        name = bare(catalogue()[thing].names["en"][0])
    part = _PART.match(name)
    if part and part[1].startswith("pair"):
        return f"pairs of {colour} {part[2]}".replace("  ", " ")
    return f"{colour} {plural(name)}".strip()


def _relation(speaker: Speaker, scene: Scene, free: bool = True) -> str:
    nouns = [noun(speaker, placed, free=free) for placed in scene.placed]
    bank = scene.layout if free else f"said.{scene.layout}"
    if free and scene.layout == "beside" and speaker.chance(0.4):
        bank = "beside_loose"
    return speaker.say(bank, **dict(zip("xyz", nouns, strict=False)))


def _with_words(name: str, size: str, colour: str) -> str:
    some, name = ("some ", bare(name)) if name.startswith("some ") else ("", name)
    part = _PART.match(name)
    if part and part[1].startswith(("pair", "bunch", "ball", "spool")):
        head, rest = part[1], part[2]
        words = f"{size} {head}{colour} {rest}"
    else:
        words = f"{size} {colour} {name}"
    words = re.sub(r" +", " ", words).strip()
    return some + words if some else with_article(words)


def _word(speaker: Speaker, attribute: str, value: str, free: bool) -> str:
    if not value:
        return ""
    bank = f"{attribute}.{value}"
    return speaker.say(bank) if free else speaker.first(bank)


def _chinese_noun(speaker: Speaker, thing: str, name: str, colour: str, size: str, number: str) -> str:
    """一只红色的小猫."""
    return f"{number}{measure_word(speaker, thing)}{size}{colour}{name}"


def measure_word(speaker: Speaker, thing: str) -> str:
    """The Chinese word between a number and a thing."""
    for bank in (f"measure.{thing}", f"measure.{catalogue()[thing].kind}"):
        if bank in speaker.banks:
            return speaker.first(bank)
    return "个"


# The assistant


def said(speaker: Speaker, scene: Scene) -> str:
    """All that ``scene`` says, in usual words: "a small red cat at the top left, in a meadow"."""
    if scene.layout == "several":
        words = several(speaker, scene, free=False)
    elif scene.layout == "one":
        words = noun(speaker, scene.placed[0], scene.size, free=False)
    else:
        words = _relation(speaker, scene, free=False)
    place = speaker.first(f"position.{scene.position}") if scene.position else ""
    behind = speaker.first(f"background.{scene.background}") if scene.background else ""
    if speaker.language == "zh":
        return "，".join(filter(None, (words, place, behind)))
    return f"{words} {place}".strip() + (f", {behind}" if behind else "")


def listed(speaker: Speaker, nouns: list[str], either: bool = False) -> str:
    """ "a cat, a dog and a bird", or the same with "or"."""
    english = speaker.language == "en"
    comma, last = (", ", " or " if either else " and ") if english else ("、", "或者" if either else "和")
    return comma.join(nouns[:-1]) + (last if len(nouns) > 1 else "") + nouns[-1]
