"""What is heard in sounds and what moves in videos that a model made, as the towers of the world's encoder read it.

A tower reads a medium as the phrases of a caption (``encoders.phrase_reader``). An attribute is right where, of all
that its phrase could say, what the caption says is nearest to what was read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from data.things import COLOURS, catalogue
from data.things.motion import MOTIONS
from data.things.sounds.kinds import kinds
from data.things.words import NUMBERS
from decoders.phrases import NUMBER, THINGS, embed_phrases, split_caption
from encoders.sentence_encoder import Remembered
from encoders.trunk_encoder import TrunkEncoder
from evaluation.things.attributes import wanted

#: What the phrase of how often something is heard may be; of notes the numbers, of all else the times.
_NOTES, _TIMES = NUMBERS[1:], ("once", "twice", "three times", "four times", "five times")


@dataclass(frozen=True)
class Choice:
    """An attribute of a caption: phrases that may stand in its slot, and which of them mean what the caption says."""

    attribute: str
    slot: int
    phrases: Sequence[str]
    right: frozenset[str]


def sound_choices(caption: str) -> list[Choice]:
    """Kind of a sound, and how often it is heard where that is said. ValueError for a kind that the world lacks."""
    phrases = split_caption(caption)
    names = sound_names()
    if phrases[0] not in names:
        raise ValueError(f"{phrases[0]!r} is no sound of the world")
    meant = frozenset(name for name, kind in names.items() if kind == names[phrases[0]])
    choices = [Choice("thing", 0, list(names), meant)]
    said = phrases[NUMBER]
    for numbers in (_NOTES, _TIMES):
        if said in numbers:
            choices.append(Choice("number", NUMBER, numbers, frozenset([said])))
    return choices


def video_choices(caption: str) -> list[Choice]:
    """Things of a video, their colours, and their motions where they are said."""
    phrases, choices = split_caption(caption), []
    for number, thing in enumerate(wanted(caption)[0][:THINGS]):
        slot, noun = 2 * number, phrases[2 * number]
        coloured = f"{thing.colour} " if thing.colour else ""
        animated = "animated " if noun.startswith("animated ") else ""
        own = f"{animated}{coloured}{thing.thing}"
        choices.append(Choice("thing", slot, [f"{animated}{coloured}{name}" for name in catalogue()], frozenset([own])))
        if thing.colour:
            choices.append(Choice("colour", slot, [f"{colour} {thing.thing}" for colour in COLOURS], frozenset([own])))
        for motion in (each["en"] for each in MOTIONS.values()):
            if phrases[slot + 1].endswith(motion):
                place = phrases[slot + 1].removesuffix(motion)
                all_motions = [place + each["en"] for each in MOTIONS.values()]
                choices.append(Choice("motion", slot + 1, all_motions, frozenset([place + motion])))
    return choices


@cache
def sound_names() -> dict[str, str]:
    """Every English phrase for every kind of sound -> the kind: "dog", "barking dog" -> "dog"."""
    named: dict[str, str] = {}
    for kind in kinds().values():
        for name in (each.removeprefix("some ") for each in kind.names["en"]):
            for phrase in (name, f"{kind.doing} {name}".strip()):
                named.setdefault(phrase, kind.name)
    return named


CHOICES = {"audio": sound_choices, "video": video_choices}


class PhraseJudge:
    """Compares sounds or videos with captions."""

    def __init__(self, encoder: TrunkEncoder, modality: str) -> None:
        self.encoder, self.modality = encoder, modality
        self.texts = Remembered(encoder.text)

    def agreement(self, caption: str, medium: np.ndarray, rate: float | None = None) -> dict[str, bool]:
        """Which attributes that the caption asks for the medium has; of several things all must have them."""
        read, found = self.read(medium, rate), {}
        for choice in CHOICES[self.modality](caption):
            table = embed_phrases(choice.phrases, choice.slot, self.texts)  # (N, E)
            nearest = choice.phrases[int((table @ read[choice.slot]).argmax())]
            found[choice.attribute] = found.get(choice.attribute, True) and nearest in choice.right
        return found

    @torch.no_grad()
    def read(self, medium: np.ndarray, rate: float | None) -> torch.Tensor:
        """The phrases (L, E) that the tower reads."""
        tower: Any = self.encoder.towers[self.modality]
        batch = [self.encoder.preprocess(self.modality, medium, rate)]
        return tower(self.encoder.features(self.modality, batch))[1][0]
