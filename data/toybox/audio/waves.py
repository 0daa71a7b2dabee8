"""The material that Toybox sounds are made of: envelopes, swept harmonic tones and shaped noise.

Legend: N samples of one event, H harmonics or partials. Everything is float32 at :data:`RATE`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

RATE = 16_000
#: Nothing tonal is put above this, in Hz: the models see 64 mel bands up to 8 kHz.
CEILING = 7_200.0
#: Noise of an event is made in the frequency domain at this length; no event is longer.
NOISE_LENGTH = 8_192


@dataclass(frozen=True)
class Event:
    """One sounding of a thing: how long, how high (factor on all its frequencies), and its random details."""

    seconds: float
    pitch: float
    rng: np.random.Generator

    @cached_property
    def length(self) -> int:
        return round(self.seconds * RATE)

    @cached_property
    def progress(self) -> np.ndarray:
        """0 to 1 over the event, (N,)."""
        return np.linspace(0.0, 1.0, self.length, dtype=np.float32)

    def near(self, value: float, spread: float = 0.02) -> float:
        """``value`` give or take a ``spread`` of itself."""
        return value * float(self.rng.uniform(1 - spread, 1 + spread))


def plateau(event: Event, start: float, stop: float, rise: float = 0.15, fall: float = 0.25) -> np.ndarray:
    """(N,) 0 to 1 and back between the two points of the progress, with rounded edges.

    ``rise`` and ``fall`` are shares of the stretch from ``start`` to ``stop``.
    """
    inside = (event.progress - start) / (stop - start)
    up = np.clip(inside / rise, 0, 1)
    down = np.clip((1 - inside) / fall, 0, 1)
    edge = up * down
    return edge * edge * (3 - 2 * edge)


def strike(event: Event, start: float, fade: float, attack: float = 0.004) -> np.ndarray:
    """(N,) a quick attack of ``attack`` seconds at ``start`` of the progress, then decay to 1/e in ``fade`` of it."""
    since = event.progress - start
    rise = np.clip(since * (event.seconds / attack), 0, 1)
    return rise * np.exp(-np.maximum(since, 0) / fade)


def closing(event: Event, share: float = 0.08) -> np.ndarray:
    """(N,) one, falling smoothly to zero over the last ``share`` of the event."""
    return np.sin(np.clip((1 - event.progress) / share, 0, 1) * (np.pi / 2)) ** 2


def arch(inside: np.ndarray) -> np.ndarray:
    """Half a sine: 0 at both ends of ``inside``'s way from 0 to 1, 0 outside it."""
    return np.maximum(np.sin(np.pi * np.clip(inside, 0, 1)), 0)


def phase_of(frequency: np.ndarray | float, event: Event) -> np.ndarray:
    """The running phase, (N,) radians, of a tone of ``frequency`` Hz, a number or (N,)."""
    steps = np.broadcast_to(np.asarray(frequency, np.float64), (event.length,)) * (2 * np.pi / RATE)
    return np.cumsum(steps) + event.rng.uniform(0, 2 * np.pi)


def tone(frequency: np.ndarray | float, event: Event) -> np.ndarray:
    """A sine of ``frequency`` Hz, a number or (N,)."""
    return np.sin(np.remainder(phase_of(frequency, event), 2 * np.pi).astype(np.float32))


def harmonics(frequency: np.ndarray | float, weights: np.ndarray, event: Event) -> np.ndarray:
    """A tone with overtones, (N,). ``weights`` is (H,) or, moving in time, (H, N)."""
    highest = float(np.max(frequency))
    count = max(1, min(len(weights), int(CEILING / highest)))
    phase = np.remainder(phase_of(frequency, event), 2 * np.pi).astype(np.float32)
    orders = np.arange(1, count + 1, dtype=np.float32)
    waves = np.sin(orders[:, None] * phase)  # (H, N)
    weights = np.asarray(weights[:count], np.float32)
    return weights @ waves if weights.ndim == 1 else np.einsum("hn,hn->n", weights, waves)


def formants(frequency: np.ndarray | float, peaks: list[tuple], count: int) -> np.ndarray:
    """Weights for :func:`harmonics`: ``peaks`` are (Hz, width in octaves, strength); Hz a number or (N,)."""
    orders = np.arange(1, count + 1, dtype=np.float32)
    moving = any(np.ndim(centre) for centre, _, _ in peaks) or np.ndim(frequency)
    height = np.log2(orders[:, None] * np.asarray(frequency, np.float32) if moving else orders * np.float32(frequency))
    total = np.zeros_like(height)
    for centre, width, strength in peaks:
        total += strength * np.exp(-(((height - np.log2(np.asarray(centre, np.float32))) / width) ** 2))
    return total


def noise(event: Event, centre: float, octaves: float, floor: float = 0.0) -> np.ndarray:
    """Noise, (N,) of standard deviation 1, with a bump of ``octaves`` half-width about ``centre`` Hz."""
    bins = np.fft.rfftfreq(NOISE_LENGTH, 1 / RATE).astype(np.float32)
    shape = np.exp(-((np.log2(np.maximum(bins, 1) / centre) / octaves) ** 2)) + floor
    shape *= 1 / (1 + (bins / CEILING) ** 16)
    drawn = event.rng.standard_normal((len(bins), 2), dtype=np.float32).view(np.complex64)[:, 0]
    wave = np.fft.irfft(drawn * shape, NOISE_LENGTH)
    scale = NOISE_LENGTH / (2 * np.sqrt(np.sum(shape * shape)))
    return (wave * scale)[: event.length].astype(np.float32)
