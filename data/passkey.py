"""Passkey documents: a number somewhere in a long row of filler, asked for at the end.

The test of long contexts that LongLoRA (2309.12307, Sec. 4.2) takes: the task, filler, the key said twice, filler, the
question. Lengths are in tokens and exact: filler is cut where the row is full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice

import numpy as np

KEYS = range(1, 50_000)
TASK = "A pass key is hidden in the text below. Find it and remember it: you will be asked for it at the end.\n"
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
        self.task, self.filler = encode(TASK), encode(FILLER)
        self.shortest = max(len(self._frame(key)[0]) for key in (KEYS[-1], 11_111))

    def document(self, length: int, key: int, depth: float) -> PasskeyDocument:
        """``length`` tokens; ``depth`` is the share of the filler that stands before the key, 0 to 1.

        ValueError for a length that is too short for a key of five digits and its question.
        """
        if length < self.shortest:
            raise ValueError(f"a passkey document has at least {self.shortest} tokens, not {length}")
        if not 0 <= depth <= 1:
            raise ValueError(f"depth must be from 0 to 1, not {depth}")
        ids, roles, cut = self._frame(key)
        filler = length - len(ids)
        before = round(depth * filler)
        ids[cut:cut], roles[cut:cut] = self._fill(filler - before), [PLAIN] * (filler - before)
        start = len(self.task)
        ids[start:start], roles[start:start] = self._fill(before), [PLAIN] * before
        return PasskeyDocument(ids, roles)

    def _frame(self, key: int) -> tuple[list[int], list[int], int]:
        """Ids and roles of all but the filler, and the place where the filler behind the key belongs."""
        said = [
            ("\nThe pass key is", PLAIN), (f" {key}", FIRST), (". Remember it.", PLAIN), (f" {key}", REPEATED),
            (" is the pass key.\n", PLAIN),
        ]  # fmt: skip
        asked = [("\nWhat is the pass key? The pass key is", PLAIN), (f" {key}.", ANSWER)]
        ids, roles, cut = list(self.task), [PLAIN] * len(self.task), 0
        for pieces in (said, asked):
            cut = len(ids)
            for text, role in pieces:
                piece = self.encode(text)
                ids += piece
                roles += [role] * len(piece)
        return ids, roles, cut

    def _fill(self, count: int) -> list[int]:
        return list(islice(cycle(self.filler), count))


def draw_key(rng: np.random.Generator, held_out: bool) -> int:
    """A key for training, or one of the seventh of all keys that training never sees."""
    while True:
        key = int(rng.integers(KEYS.start, KEYS.stop))
        if (key % 7 == 3) == held_out:
            return key
