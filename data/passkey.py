"""Passkey documents: a number somewhere in a long row of filler, asked for at the end.

The test of long contexts that LongLoRA (2309.12307, Sec. 4.2) takes: the task, filler, the key said twice, filler, the
question. Lengths are in tokens and exact: filler is cut where the row is full.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice

import numpy as np

KEYS = range(1, 50_000)
TASK = "Find the pass key in this text.\n"
FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
#: What a token is part of. The first mention of a key cannot be foreseen, its repetition and the answer can.
PLAIN, FIRST, REPEATED, ANSWER = range(4)


@dataclass(frozen=True)
class PasskeyDocument:
    """Ids of a whole document, its answer included, and for each id what it is part of."""

    ids: list[int]
    roles: list[int]

    @property
    def answer_start(self) -> int:
        return self.roles.index(ANSWER)


class PasskeyWriter:
    """Writes passkey documents of exact lengths.

    Args:
        encode: text to token ids, without special tokens. Pieces are encoded one by one, so a key is the same ids
            wherever it stands.
    """

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self.encode = cache(encode)  # pieces and keys come again and again
        self.filler = self._tokens((FILLER, PLAIN))
        self.task = self._tokens((TASK, PLAIN))
        self.shortest = len(self.task) + len(self._said(KEYS[-1])) + len(self._asked(KEYS[-1]))

    def document(self, length: int, key: int, depth: float, questions: int = 1) -> PasskeyDocument:
        """``length`` tokens; ``depth`` is the share of the filler that stands before the key, 0 to 1.

        The question is asked and answered ``questions`` times, at most :meth:`max_questions`, with
        filler in between. ValueError for what does not fit into ``length``.
        """
        if length < self.shortest:
            raise ValueError(f"a passkey document has at least {self.shortest} tokens, not {length}")
        if not 1 <= questions <= self.max_questions(length):
            raise ValueError(f"{length} tokens hold 1 to {self.max_questions(length)} questions, not {questions}")
        if not 0 <= depth <= 1:
            raise ValueError(f"depth must be from 0 to 1, not {depth}")
        said, asked = self._said(key), self._asked(key)
        filler = length - len(self.task) - len(said) - questions * len(asked)
        before = round(depth * filler)
        tokens = self.task + self._fill(before) + said
        for i in range(questions):
            share = (filler - before) * (i + 1) // questions - (filler - before) * i // questions
            tokens += self._fill(share) + asked
        return PasskeyDocument([token for token, _ in tokens], [role for _, role in tokens])

    def max_questions(self, length: int) -> int:
        """How often a document of ``length`` tokens can ask for a key of five digits."""
        return 1 + (length - self.shortest) // len(self._asked(KEYS[-1]))

    def _said(self, key: int) -> list[tuple[int, int]]:
        pieces = [("\nThe pass key is", PLAIN), (f" {key}", FIRST), (". Remember it.", PLAIN), (f" {key}", REPEATED)]
        return self._tokens(*pieces, (" is the pass key.\n", PLAIN))

    def _asked(self, key: int) -> list[tuple[int, int]]:
        return self._tokens(("\nWhat is the pass key? The pass key is", PLAIN), (f" {key}.", ANSWER))

    def _fill(self, count: int) -> list[tuple[int, int]]:
        return list(islice(cycle(self.filler), count))

    def _tokens(self, *pieces: tuple[str, int]) -> list[tuple[int, int]]:
        """Pieces of text with their roles as tokens with theirs."""
        return [(token, role) for text, role in pieces for token in self.encode(text)]


def draw_key(rng: np.random.Generator, held_out: bool) -> int:
    """A key for training, or one of the seventh of all keys that training never sees."""
    while True:
        key = int(rng.integers(KEYS.start, KEYS.stop))
        if (key % 7 == 3) == held_out:
            return key
