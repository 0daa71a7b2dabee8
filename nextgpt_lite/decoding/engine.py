"""What the generator asks of a decoding engine, of which there are two: :func:`nextgpt_lite.generate.open_engine`.

Shapes: B rows, T tokens, D model width, V vocabulary with the added tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from nextgpt_lite.decoding.contexts import PrefixCache

ENGINES, WEIGHTS = ("own", "transformers"), ("exact", "int8")


@dataclass(frozen=True, eq=False)
class Decoding:
    """How text is decoded.

    ``engine`` "own" takes the quickest that computes the same, "transformers" the core's own forward pass. ``weights``
    "int8" are rounded, a scale for each output channel: on a CPU large models are quicker with them. ``prefixes`` keep
    what conversations have read for their next turn. ValueError for another engine or other weights.
    """

    engine: str = "own"
    weights: str = "exact"
    prefixes: PrefixCache | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"unknown engine {self.engine!r}: expected one of {', '.join(ENGINES)}")
        if self.weights not in WEIGHTS:
            raise ValueError(f"unknown weights {self.weights!r}: expected one of {', '.join(WEIGHTS)}")


class Prepared(NamedTuple):
    """A conversation as the core reads it: ids, one embedding (E,) or patch tokens (P, E) a medium, turns left out."""

    ids: list[int]
    media: Sequence[torch.Tensor]
    dropped_turns: int = 0


class Engine(Protocol):
    """The rows that a core reads at present, each with what it has read."""

    def join(self, prompts: Sequence[Prepared]) -> torch.Tensor:
        """Read prompts, whose rows join behind the others; logits (B, V) of what follows each."""
        ...

    def step(self, tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one token of each row: states (B, D) and logits (B, V)."""
        ...

    def keep(self, places: list[int]) -> None:
        """Let all rows go but those at ``places``, which are in order."""
        ...

    def read_behind(self, place: int, length: int, ids: list[int]) -> torch.Tensor:
        """States (1, T, D) of ``ids`` behind the first ``length`` of a row, in the place of what it has read there."""
        ...
