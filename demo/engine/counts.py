"""What an engine has done, for its metrics and for the time that a refused client should wait."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

#: Seconds that a request takes on average, before any was answered.
DEFAULT_REQUEST_SECONDS = 2.0


@dataclass
class Counts:
    """``requests`` by how they ended, ``media`` by modality, ``seconds`` by modality, of "text" and of "requests"."""

    requests: Counter[str] = field(default_factory=Counter)
    media: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: int = 0

    @property
    def seconds_per_request(self) -> float:
        """How long the engine works for a request, by what it has done so far."""
        done = sum(self.requests.values())
        worked = sum(seconds for name, seconds in self.seconds.items() if name != "requests")
        return max(1.0, worked / done) if done else DEFAULT_REQUEST_SECONDS
