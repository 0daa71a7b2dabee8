""":class:`Speaker` builds a dialogue: it words the turns of one conversation in one language with one random stream."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.things.dialogues.parts import Dialogue, MediaPart, Turn
from data.things.dialogues.style import styled
from data.things.dialogues.wording import Wording, upper_first


class Speaker(Wording):
    """Turns in one language. ``things`` and ``pairs`` say which scenes may occur, as in :func:`data.things.sample`.

    ``classes`` are the names of an ImageNet classifier's classes, in its order; () where there is no such thing.
    """

    def __init__(
        self,
        language: str,
        rng: np.random.Generator,
        held_out: bool = False,
        things: str = "train",
        pairs: str = "train",
        classes: Sequence[str] = (),
    ) -> None:
        super().__init__(language, rng, held_out)
        self.things, self.pairs, self.classes = things, pairs, classes
        self.turns: list[Turn] = []
        self._topic: dict[str, Any] = {}

    def user(self, bank: str, *media: MediaPart, **slots: str) -> None:
        """A turn of the user: a wording of ``bank``, written as people type, before or after what is shown."""
        self.user_says(self.say(bank, **slots), *media)

    def user_says(self, text: str, *media: MediaPart) -> None:
        text = styled(text, self.language, self.rng)
        self.turns.append(Turn("user", (text, *media) if media and self.chance(0.3) else (*media, text)))

    def reply(self, bank: str, *media: MediaPart, **slots: str) -> None:
        """A reply: a wording of ``bank``, then what it makes."""
        self.reply_says(self.say(bank, **slots), *media)

    def reply_says(self, *parts: str | MediaPart) -> None:
        first, *rest = parts
        words = upper_first(tidy(first)) if isinstance(first, str) else first
        self.turns.append(Turn("assistant", (words, *rest)))

    def done(self, kind: str, topic: str = "", answer: Sequence[str] = ()) -> Dialogue:
        """The dialogue as it stands. ``answer`` are words that the last reply must hold."""
        media = [(part.modality, part.caption) for part in self.turns[-1].media]
        expected = {"topic": topic or kind, "media": media, "answer": list(answer)}
        return Dialogue(tuple(self.turns), kind, self.language, expected)


def tidy(text: str) -> str:
    """Capitals after full stops, no comma before a full stop."""
    text = re.sub(r"([.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    return re.sub(r"[,;:] ?([.!?])", r"\1", text)
