"""What is heard in a sound: drawn from a seed, with exact ground truth, and said in a caption.

three high notes on a piano, quick and loud
a violin, slow and low
a dog that barks twice
a ringing telephone
"""

from dataclasses import dataclass, replace

import numpy as np

from data.things.captions import Naming
from data.things.sounds.kinds import Kind, kinds
from data.things.words import NUMBERS, with_article

PITCHES, PACES, LOUDNESSES, TOUCHES = (
    ("low", "", "high"),
    ("slow", "", "quick"),
    ("soft", "", "loud"),
    ("short", "long"),
)
TIMES = ("", "once", "twice", "three times", "four times", "five times")
#: The most that is heard one after another, of each form.
MOST = {"notes": 5, "hits": 5, "events": 3, "steady": 0}
_UNSAID = 0.4


@dataclass(frozen=True)
class SoundScene:
    """What a sound is of. "" is between the extremes, and not said.

    Attributes:
        kind: name of a kind of sound.
        count: how many notes, hits or events; 0 where captions do not say it (a melody, or as it comes).
        pitch, pace, loudness: of PITCHES, PACES and LOUDNESSES.
        touch: "short" or "long" notes of an instrument that can hold them, or "".
        jitter: seeds what no caption names.
    """

    kind: str
    count: int
    pitch: str
    pace: str
    loudness: str
    touch: str
    jitter: int

    def with_(self, **changes) -> "SoundScene":
        """The same scene with some attributes changed."""
        return replace(self, **changes)


def sample(seed: int, index: int, kind: str = "") -> SoundScene:
    """Sound number ``index`` of the stream ``seed``; it depends on these alone. ``kind`` chooses one, "" draws it."""
    rng = np.random.default_rng((seed, index, 0x50))
    found = kinds()[kind or str(rng.choice(list(kinds())))]
    most = MOST[found.form]
    count = int(rng.integers(1, most + 1)) if most and rng.random() > _UNSAID else 0
    loudness = _drawn(rng, LOUDNESSES)
    pitch = _drawn(rng, PITCHES) if found.form == "notes" else ""
    pace = _drawn(rng, PACES) if found.form in ("notes", "hits") and count != 1 else ""
    touch = str(rng.choice(TOUCHES)) if found.held and count and rng.random() > _UNSAID else ""
    if touch == "long" and (count > 2 or pace):
        touch = ""
    return SoundScene(found.name, count, pitch, pace, loudness, touch, int(rng.integers(2**31)))


def _drawn(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    """One of the values, "" as often as not."""
    return "" if rng.random() < _UNSAID else str(rng.choice(values))


def first_name(kind: str) -> str:
    """The usual English name, with "some" where it takes no article."""
    return kinds()[kind].names["en"][0]


def caption(scene: SoundScene, naming: Naming = first_name) -> str:
    """The whole sound, in English words."""
    kind, name = kinds()[scene.kind], naming(scene.kind)
    counted_notes = kind.form == "notes" and scene.count > 0
    words = _notes(scene, name) if counted_notes else _heard(scene, kind, name)
    pitch = "" if counted_notes else scene.pitch
    how = [word for word in (scene.pace, pitch, scene.loudness) if word]
    return f"{words}, {' and '.join(', '.join(how).rsplit(', ', 1))}" if how else words


def _notes(scene: SoundScene, name: str) -> str:
    """ "three short high notes on a piano"."""
    note = " ".join(word for word in (scene.touch, scene.pitch, "note") if word)
    notes = with_article(note) if scene.count == 1 else f"{NUMBERS[scene.count]} {note}s"
    return f"{notes} {'by' if kinds()[scene.kind].by else 'on'} {with_article(name)}"


def _heard(scene: SoundScene, kind: Kind, name: str) -> str:
    """ "a dog that barks twice", "a barking dog", "some falling rain"."""
    if scene.count:
        return f"{with_article(name)} that {kind.does} {TIMES[scene.count]}"
    some, name = ("some ", name.removeprefix("some ")) if name.startswith("some ") else ("", name)
    return with_article(f"{some}{kind.doing} {name}") if kind.doing else with_article(some + name)
