"""Scenes for dialogues: new ones, and others that differ from one in what a user changes."""

from dataclasses import replace

from data.things.catalogue import catalogue, held_out_things, trained_things
from data.things.dialogues.phrases import said_singly
from data.things.dialogues.speaker import Speaker
from data.things.scenes import Placed, Scene, compose, held_out_pair, sample
from data.things.sprites import COLOURS, UNCOLOURED

Noun = tuple[str, str | None]


def scene(speaker: Speaker, layout: str = "") -> Scene:
    """A new one."""
    while True:
        drawn = sample(int(speaker.rng.integers(2**31)), 0, layout, speaker.things, speaker.pairs)
        if drawn.layout != "several" or said_singly(drawn.placed[0].thing):
            return drawn


def plain(speaker: Speaker, thing: str = "", colour: str | None = None) -> Scene:
    """One thing alone, of which nothing more is said than its colour."""
    return compose(speaker.rng, [(thing or some_thing(speaker), colour)], "one")


def nouns_of(shown: Scene) -> list[Noun]:
    """What stands in a scene; of several equal things one."""
    nouns = [(placed.thing, placed.colour) for placed in shown.placed]
    return nouns[:1] if shown.layout == "several" else nouns


def some_thing(speaker: Speaker, *others: str) -> str:
    """A thing other than ``others``."""
    pool = [name for name in _pool(speaker) if name not in others]
    return speaker.pick(pool)


def some_colour(speaker: Speaker, thing: str, *others: str | None) -> str | None:
    """A colour that the thing may have, other than ``others``; None where there is none."""
    if thing in UNCOLOURED:
        return None
    allowed = [colour for colour in COLOURS if may_have(speaker, thing, colour) and colour not in others]
    return speaker.pick(allowed) if allowed else None


def may_have(speaker: Speaker, thing: str, colour: str | None) -> bool:
    """Whether the speaker may show the thing in this colour."""
    if colour is None or speaker.pairs == "all":
        return True
    return thing not in UNCOLOURED and held_out_pair(thing, colour) == (speaker.pairs == "held_out")


def changed(speaker: Speaker, shown: Scene, nouns: list[Noun] | None = None, **settings: str | int) -> Scene:
    """``shown`` with other things in it, or another count, size, position or background."""
    count = int(settings.pop("count", shown.count if shown.layout == "several" else 1))
    nouns = nouns or nouns_of(shown)
    known = {"size": shown.size, "position": shown.position, "background": shown.background} | settings
    layout = _layout(shown, nouns, count)
    if layout != "one":
        known |= {"size": "", "position": ""}
    return compose(speaker.rng, nouns, layout, count, **known)  # type: ignore[arg-type]


def _layout(shown: Scene, nouns: list[Noun], count: int) -> str:
    if len(nouns) == 1:
        return "one" if count == 1 else "several"
    if len(nouns) == 3:
        return "three"
    return shown.layout if shown.layout in ("beside", "above") else "beside"


def fits(size: str, position: str) -> bool:
    """Whether scenes show a thing of this size at this place."""
    return size != "large" or not position


def recoloured(shown: Scene, colour: str) -> list[Noun]:
    return [(thing, colour) for thing, _ in nouns_of(shown)]


def same_kind(speaker: Speaker, thing: str) -> str:
    """Another thing of its kind."""
    kind = catalogue()[thing].kind
    pool = [name for name in _pool(speaker) if catalogue()[name].kind == kind and name != thing]
    return speaker.pick(pool) if pool else some_thing(speaker, thing)


def nowhere(shown: Scene) -> Scene:
    """The things alone: what is said of the place and the background is left out."""
    return shown.with_(size="", position="", background="")


def without_jitter(shown: Scene) -> Scene:
    """What of a scene a caption can say: equal for scenes of the same words."""
    return replace(shown, placed=tuple(Placed(each.thing, each.colour, 0, 0, 0) for each in shown.placed), jitter=0)


def _pool(speaker: Speaker) -> list[str]:
    return trained_things() if speaker.things == "train" else held_out_things()
