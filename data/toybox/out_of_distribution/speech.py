"""Speech-like sound with no words in it: a voice with formants, syllables, accents and pauses.

A source-filter synthesis on short spectra: pulses and breath, each shaped frame by frame by the mouth.
Legend: N samples, F frames of 8 ms, B frequency bins.
"""

from functools import lru_cache

import numpy as np

from data.toybox.audio.waves import RATE

HOP, WINDOW = 128, 512
#: First three formants in Hz of some vowels, for a grown man; mouths of others are shorter.
_VOWELS = np.array(
    ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410), (660, 1720, 2410),
     (440, 1020, 2240), (390, 1990, 2550), (490, 1350, 1690), (640, 1190, 2390))
)  # fmt: skip
#: Who speaks: range of the middle pitch in Hz, and the factor on formants.
_SPEAKERS = {"man": ((80, 155), 1.0), "woman": ((160, 260), 1.16), "child": ((240, 400), 1.32)}


def speech(rng: np.random.Generator, samples: int = 2 * RATE) -> np.ndarray:
    """One voice talking, (samples,) float32 with its peak at 1."""
    frames = samples // HOP + WINDOW // HOP + 1
    pitch, mouth, voiced, hissed, hiss_centre = _script(rng, frames)
    pulses = _spectra(_pulses(pitch, rng), frames)
    breath = _spectra(rng.standard_normal(frames * HOP + WINDOW, dtype=np.float32), frames)
    tract = _tract(mouth, rng.uniform(0.7, 1.5))
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    fricative = np.exp(-(((bins - hiss_centre[:, None]) / rng.uniform(900, 1800)) ** 2))
    shaped = (pulses * voiced[:, None] + breath * (rng.uniform(0.005, 0.05) * voiced)[:, None]) * tract
    shaped = shaped + breath * fricative * (hissed * rng.uniform(0.04, 0.2))[:, None]
    wave = _joined(shaped)[WINDOW : WINDOW + samples]
    return (wave / (np.abs(wave).max() + 1e-9)).astype(np.float32)


def babble(rng: np.random.Generator, samples: int = 2 * RATE) -> np.ndarray:
    """A crowd: three voices, each heard several times over at other moments; peak 1."""
    total = np.zeros(samples, np.float32)
    for _ in range(3):
        voice = speech(rng, samples)
        for _ in range(int(rng.integers(1, 5))):
            total += rng.uniform(0.2, 1) * np.roll(voice, int(rng.integers(samples)))
    return total / (np.abs(total).max() + 1e-9)


def _script(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, ...]:
    """What the voice does in each frame: pitch (F,), formants (F, 3), voiced and hissed loudness, hiss Hz (F,)."""
    (low, high), size = _SPEAKERS[str(rng.choice(tuple(_SPEAKERS), p=(0.42, 0.42, 0.16)))]
    size = size * rng.uniform(0.93, 1.07)
    middle, pace, lively = rng.uniform(low, high), rng.uniform(0.75, 1.5), rng.uniform(0.05, 0.3)
    pitch, voiced, hissed = np.full(frames, middle), np.zeros(frames), np.zeros(frames)
    mouth, hiss_centre = np.tile(_VOWELS[0] * size, (frames, 1)), np.full(frames, 4000.0)
    at, fall = int(rng.integers(0, 15)), 1.0
    while at < frames:
        onset, length = int(rng.uniform(4, 15) / pace), int(rng.uniform(8, 30) / pace)
        _consonant(rng, slice(at, at + onset), voiced, hissed, hiss_centre)
        vowel = slice(at + onset, at + onset + length)
        first, second = _VOWELS[rng.integers(len(_VOWELS), size=2)] * size
        count = len(voiced[vowel])
        mouth[at : at + onset + length] = first
        mouth[vowel] = first + (second - first) * (np.linspace(0, rng.choice((0, 0.3, 1)), count)[:, None])
        voiced[vowel] = rng.uniform(0.45, 1) * np.sin(np.linspace(0.4, np.pi - 0.3, count)) ** 0.6
        pitch[at : at + onset + length] = middle * fall * 2 ** (lively * rng.normal())
        at, fall = at + onset + length, max(0.75, fall * rng.uniform(0.95, 1.0))
        if rng.random() < 0.16:
            at, fall = at + int(rng.uniform(10, 60)), rng.uniform(1.0, 1.2)
    wander = 1 + 0.03 * _smooth(rng.standard_normal(frames), 9)
    return _smooth(pitch, 13) * wander, _smooth(mouth, 7), _smooth(voiced, 3), _smooth(hissed, 3), hiss_centre


def _consonant(
    rng: np.random.Generator, span: slice, voiced: np.ndarray, hissed: np.ndarray, hiss_centre: np.ndarray
) -> None:
    """Writes one consonant into ``span``: a fricative, a stop with its burst, or a nasal."""
    kind = rng.choice(("fricative", "stop", "nasal", "none"), p=(0.3, 0.3, 0.25, 0.15))
    hiss_centre[span] = rng.choice((1600, 2600, 4200, 5600, 6800))
    if kind == "fricative":
        hissed[span] = rng.uniform(0.3, 1)
        voiced[span] = rng.choice((0, 0.15))
    elif kind == "stop":
        hissed[max(span.start, span.stop - 2) : span.stop] = rng.uniform(0.4, 1.4)
    elif kind == "nasal":
        voiced[span] = rng.uniform(0.15, 0.35)


def _pulses(pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A glottal pulse at every turn of the pitch, (F * HOP + WINDOW,), a little uneven in strength."""
    length = len(pitch) * HOP + WINDOW
    steps = np.interp(np.arange(length) / HOP, np.arange(len(pitch)), pitch) / RATE
    turns = np.cumsum(steps)
    at = np.flatnonzero(np.diff(np.floor(turns), prepend=0) > 0)
    early = (turns[at] % 1) / steps[at]  # how long before its sample the pulse really was, in samples
    strength = rng.normal(1, 0.06, len(at)) * 14
    wave = np.zeros(length, np.float32)
    wave[at] = strength * (1 - early)
    wave[at - 1] += strength * early
    return wave


def _tract(mouth: np.ndarray, tilt: float) -> np.ndarray:
    """The gain of throat, mouth and lips at every frame and frequency, (F, B), from formants (F, 3) in Hz."""
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE).astype(np.float32)
    upper = np.repeat([[3500.0, 4500.0]], len(mouth), 0) * (mouth[:, 2:] / 2440) ** 0.7
    gain = np.zeros((len(mouth), len(bins)), np.float32)
    places = np.concatenate([mouth, upper], 1).astype(np.float32)
    for place, width, strength in zip(places.T, (70, 100, 150, 220, 280), (1, 0.7, 0.35, 0.2, 0.1), strict=True):
        gain += strength / (1 + ((bins - place[:, None]) / width) ** 2)
    source = (bins / 120) / (1 + (bins / 120) ** 2) * (1 + bins / 300) ** (1 - tilt)
    return (gain + 0.004) * source


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def _spectra(wave: np.ndarray, frames: int) -> np.ndarray:
    """Short spectra (F, B) of ``wave``."""
    pieces = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP][:frames]
    return np.fft.rfft(pieces * _window(), axis=1)


def _joined(spectra: np.ndarray) -> np.ndarray:
    """The wave of short spectra (F, B) by overlap and addition."""
    pieces = (np.fft.irfft(spectra, WINDOW, axis=1) * _window()).reshape(len(spectra), WINDOW // HOP, HOP)
    total = np.zeros((len(spectra) + WINDOW // HOP, HOP), np.float32)
    for part in range(WINDOW // HOP):
        total[part : part + len(spectra)] += pieces[:, part]
    return total.ravel()


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """The running mean of ``width`` frames, along the first axis."""
    padding = [(width // 2, width // 2)] + [(0, 0)] * (values.ndim - 1)
    sums = np.cumsum(np.pad(values, padding, mode="edge"), axis=0)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    return (sums[width:] - sums[:-width]) / width
