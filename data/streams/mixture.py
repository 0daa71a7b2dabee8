"""Streams of records mixed by weight, without end; the position can be saved and restored."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np


class RecordStream(Protocol):
    """Passes over records, one an iteration, whose position can be saved and restored."""

    def __iter__(self) -> Iterator[Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ListStream:
    """A list as a stream: each pass has another order, by ``seed``."""

    def __init__(self, items: Sequence[Any], seed: int = 0) -> None:
        self.items, self.seed = items, seed
        self.epoch = self.position = 0

    def __iter__(self) -> Iterator[Any]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.items))
        while self.position < len(order):
            self.position += 1
            yield self.items[int(order[self.position - 1])]
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class Mixture:
    """Draws each record from one of ``streams``, by ``weights``; a stream that ends starts its next pass.

    An item is the number of its stream and the record. Its state is JSON. ValueError for weights that are not above 0,
    and for a stream without a record.
    """

    def __init__(self, streams: Sequence[RecordStream], weights: Sequence[float], seed: int = 0) -> None:
        if len(streams) != len(weights) or not streams or min(weights) <= 0:
            raise ValueError(f"{len(streams)} streams with the weights {list(weights)}: expected one above 0 for each")
        self.streams = list(streams)
        self.shares = np.array(weights, dtype=float) / sum(weights)
        self.random = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        passes = [iter(stream) for stream in self.streams]
        while True:
            number = int(self.random.choice(len(passes), p=self.shares))
            item = next(passes[number], None)
            if item is None:
                passes[number] = iter(self.streams[number])
                item = next(passes[number], None)
                if item is None:
                    raise ValueError(f"stream {number} of a mixture holds no record")
            yield number, item

    def state_dict(self) -> dict[str, Any]:
        """The state of the random generator and the positions of all streams."""
        return {"random": self.random.bit_generator.state, "streams": [stream.state_dict() for stream in self.streams]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.random.bit_generator.state = state["random"]
        for stream, own in zip(self.streams, state["streams"], strict=True):
            stream.load_state_dict(own)
