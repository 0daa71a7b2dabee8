"""Audio from outside the world: noise, hum, silence, music, voices, beeps, chirps and clicks.

Each maker takes a generator and returns float32 (32000,) at 16 kHz with its peak near 1; :func:`recorded` then gives
it a room, a background, a band and a level.
"""

import numpy as np

from data.toybox.audio.waves import RATE
from data.toybox.out_of_distribution.speech import babble, speech

SAMPLES = 2 * RATE
_TIME = np.arange(SAMPLES, dtype=np.float32) / RATE
_BINS = np.fft.rfftfreq(SAMPLES, 1 / RATE).astype(np.float32)
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), tuple(range(12)))


def noise(rng: np.random.Generator) -> np.ndarray:
    """Steady or swelling noise: white, pink, brown, blue, or a band of it (wind, sea, fans)."""
    gain = (_BINS + 20) ** -rng.choice((0, 0, 0.5, 1, 1, -0.5, rng.uniform(-0.5, 1.5)))
    if rng.random() < 0.35:
        centre = 2 ** rng.uniform(np.log2(150), np.log2(6000))
        gain = gain * np.exp(-((np.log2(np.maximum(_BINS, 1) / centre) / rng.uniform(0.2, 1.5)) ** 2))
    wave = _peaked(_shaped_noise(rng, gain))
    return wave * _swell(rng) if rng.random() < 0.5 else wave


def silence(rng: np.random.Generator) -> np.ndarray:
    """Nothing, or next to nothing."""
    return np.float32(rng.choice((0, 0, 1e-5, 1e-4, 1e-3))) * rng.standard_normal(SAMPLES, dtype=np.float32)


def hum(rng: np.random.Generator) -> np.ndarray:
    """Mains hum, motors and other steady tones, bare or with overtones."""
    base = rng.choice((50, 60, 100, 120, rng.uniform(40, 400), rng.uniform(200, 3500)))
    total = np.zeros(SAMPLES, np.float32)
    for order in range(1, int(rng.integers(2, 16))):
        if base * order < 7500:
            strength = rng.uniform(0, 1) / order ** rng.uniform(0.3, 1.5)
            total += strength * np.sin(2 * np.pi * base * order * _TIME + np.float32(rng.uniform(0, 6.3)))
    throb = 1 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.3, 12) * _TIME)
    return _peaked(total * throb)


def music(rng: np.random.Generator) -> np.ndarray:
    """Notes and chords of one to three instruments on a scale and a beat, at times with drums."""
    beat = 60 / rng.uniform(60, 190)
    scale = _SCALES[int(rng.integers(len(_SCALES)))]
    root = 55 * 2 ** rng.uniform(0, 1)
    total = np.zeros(SAMPLES, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        instrument, step = _instrument(rng), beat * rng.choice((0.25, 0.5, 1, 2))
        octave, voices = int(rng.integers(0, 4)), int(rng.choice((1, 1, 3)))
        degree, moment = int(rng.integers(7)), -rng.uniform(0, step)
        while moment < 2:
            if rng.random() < 0.85:
                for voice in range(voices):
                    climb, place = divmod(degree + 2 * voice, len(scale))
                    frequency = root * 2 ** (octave + climb + scale[place] / 12)
                    _add_note(total, instrument, frequency, moment, step * instrument["hold"], rng)
            degree = int(np.clip(degree + rng.integers(-3, 4), 0, 9))
            moment += step * rng.choice((1, 1, 1, 2))
    if rng.random() < 0.4:
        total += _beats(rng, beat) * np.abs(total).max() * rng.uniform(0.2, 1)
    return _peaked(total)


def tones(rng: np.random.Generator) -> np.ndarray:
    """Sample and hold: a tone that jumps at random, every 30 to 400 ms; also dial tones and Morse."""
    held = rng.uniform(0.03, 0.4)
    steps = int(2 / held) + 2
    frequency = 2 ** rng.uniform(np.log2(150), np.log2(4000), steps)
    if rng.random() < 0.3:
        frequency[:] = frequency[0]
    loud = (rng.random(steps) < rng.uniform(0.4, 1)).astype(float)
    places = ((_TIME + rng.uniform(0, held)) / held).astype(int)
    edge = np.convolve(loud[places], np.hanning(160) / np.hanning(160).sum(), "same")
    phase = 2 * np.pi * np.cumsum(frequency[places]) / RATE
    return _peaked(_timbre(phase, rng) * edge)


def chirps(rng: np.random.Generator) -> np.ndarray:
    """Sweeps at random moments and lengths, straight, curved or trembling, over up to five octaves."""
    total = np.zeros(SAMPLES, np.float32)
    for _ in range(int(rng.integers(1, 12))):
        length = int(RATE * 2 ** rng.uniform(-5, 0.8))
        first, last = 2 ** rng.uniform(np.log2(120), np.log2(6500), 2)
        inside = np.linspace(0, 1, length) ** rng.choice((0.5, 1, 2))
        sweep = first * (last / first) ** inside * (1 + rng.choice((0, 0.1)) * np.sin(rng.uniform(20, 200) * inside))
        wave = _timbre(2 * np.pi * np.cumsum(sweep) / RATE, rng) * np.hanning(length) ** rng.uniform(0.2, 1)
        start = int(rng.integers(-length // 2, SAMPLES))
        _place(total, wave * rng.uniform(0.3, 1), start)
    return _peaked(total)


def bursts(rng: np.random.Generator) -> np.ndarray:
    """One to eight equal bursts of an unknown timbre, in the rhythm in which the world's things sound."""
    length = int(RATE * rng.uniform(0.08, 0.6))
    inside = np.linspace(0, 1, length, dtype=np.float32)
    if rng.random() < 0.5:
        frequency = 2 ** rng.uniform(np.log2(120), np.log2(5000)) * np.ones(length)
        wave = _timbre(2 * np.pi * np.cumsum(frequency) / RATE, rng)
    else:
        gain = (_BINS + 30) ** -rng.uniform(-0.3, 1.2)
        wave = _shaped_noise(rng, gain)[:length]
    fade = (np.hanning(length) ** 0.3, np.exp(-inside * rng.uniform(1, 9)), inside, 1 - inside)[int(rng.integers(4))]
    total, start = np.zeros(SAMPLES, np.float32), int(rng.integers(0, 8000))
    step = length + int(RATE * rng.uniform(0.03, 0.5))
    for _ in range(int(rng.integers(1, 9))):
        _place(total, _peaked(wave * fade), start)
        start += step
    return _peaked(total)


def clicks(rng: np.random.Generator) -> np.ndarray:
    """Knocks, clatter and claps: short ringing hits at random or even moments."""
    count = int(rng.integers(1, 40))
    moments = rng.uniform(0, SAMPLES, count) if rng.random() < 0.6 else np.linspace(0, SAMPLES, count)
    total = np.zeros(SAMPLES, np.float32)
    for moment in moments:
        time = np.arange(2400) / RATE
        ring = np.sin(2 * np.pi * 2 ** rng.uniform(7.5, 12.6) * time) + rng.normal(0, rng.uniform(0, 1), 2400)
        _place(total, ring * np.exp(-time / rng.uniform(0.002, 0.04)) * rng.uniform(0.1, 1), int(moment))
    return _peaked(total)


def mixture(rng: np.random.Generator) -> np.ndarray:
    """Two kinds at once: speech over music, music over noise."""
    first, second = rng.choice((0, 1, 2, 3), 2, replace=False)
    makers = (speech, music, noise, chirps)
    return _peaked(makers[first](rng) + np.float32(rng.uniform(0.1, 1)) * makers[second](rng))


def recorded(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``wave`` (32000,) in a room, with noise, in a narrow band, at any level, at times cut; float32 in [-1, 1]."""
    if rng.random() < 0.35:
        wave = _reverberated(wave, rng)
    wave = wave + _shaped_noise(rng, (_BINS + 100) ** -rng.uniform(0, 1)) * 10 ** (-rng.uniform(18, 75) / 20)
    if rng.random() < 0.4:
        low, high = rng.choice((20, 60, 300)), rng.choice((2000, 3400, 4000, 5500, 7000))
        wave = np.fft.irfft(np.fft.rfft(wave) / (1 + (low / (_BINS + 1)) ** 6) / (1 + (_BINS / high) ** 12), SAMPLES)
    level = rng.choice((0.95, 10 ** (-rng.uniform(0, 14) / 20), 10 ** (-rng.uniform(10, 38) / 20)))
    drive = rng.choice((1, 1, 1, 3))
    wave = np.tanh(_peaked(wave) * drive) / np.tanh(drive) * level
    if rng.random() < 0.12:
        begin, end = np.sort(rng.integers(0, SAMPLES, 2))
        wave[: begin if rng.random() < 0.5 else 0] = 0
        wave[end:] = 0
    return wave.astype(np.float32)


KINDS = {
    "voice": (speech, 0.27), "music": (music, 0.19), "noise": (noise, 0.12), "crowd": (babble, 0.05),
    "hum": (hum, 0.05), "tones": (tones, 0.06), "chirps": (chirps, 0.06), "bursts": (bursts, 0.08),
    "clicks": (clicks, 0.04), "mixture": (mixture, 0.06), "silence": (silence, 0.02),
}  # fmt: skip
"""Maker and share of each kind of sound. Silence is not sent through :func:`recorded`."""


def _peaked(wave: np.ndarray) -> np.ndarray:
    return (wave / (np.abs(wave).max() + 1e-9)).astype(np.float32)


def _shaped_noise(rng: np.random.Generator, gain: np.ndarray) -> np.ndarray:
    """Noise, (32000,) of deviation 1, with the spectrum ``gain`` (16001,)."""
    drawn = rng.standard_normal((len(_BINS), 2), dtype=np.float32).view(np.complex64)[:, 0]
    wave = np.fft.irfft(drawn * gain.astype(np.float32), SAMPLES)
    return (wave / wave.std()).astype(np.float32)


def _swell(rng: np.random.Generator) -> np.ndarray:
    """A loudness that wanders, (32000,), at one to twenty knots in two seconds."""
    knots = rng.uniform(0, 1, int(rng.integers(2, 40)))
    return np.interp(_TIME, np.linspace(0, 2, len(knots)), knots).astype(np.float32)


def _timbre(phase: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A periodic wave over ``phase``: sine, soft square, a few overtones or frequency modulation."""
    phase = np.remainder(phase, 2 * np.pi * 1000).astype(np.float32)
    kind = rng.choice(("sine", "square", "overtones", "modulated"))
    if kind == "square":
        return np.tanh(np.sin(phase) * rng.uniform(1.5, 8))
    if kind == "overtones":
        return np.sum([rng.uniform(0, 1) / order * np.sin(order * phase) for order in range(1, 6)], 0)
    if kind == "modulated":
        return np.sin(phase + rng.uniform(0.5, 4) * np.sin(phase * rng.choice((0.5, 1, 1.41, 2, 3.5))))
    return np.sin(phase)


def _instrument(rng: np.random.Generator) -> dict:
    """A timbre: overtone strengths (H,), how fast it dies and speaks, seconds, and its vibrato."""
    count = int(rng.integers(1, 10))
    strengths = rng.uniform(0.2, 1, count) * np.arange(1, count + 1) ** -rng.uniform(0.4, 2)
    if rng.random() < 0.25:
        strengths[1::2] = 0
    return {
        "strengths": strengths,
        "fade": rng.choice((0.1, 0.3, 0.8, 10)),
        "attack": rng.choice((0.004, 0.02, 0.08)),
        "hold": rng.uniform(0.5, 1.3),
        "vibrato": rng.choice((0, 0, 0.004, 0.012)),
        "bend": rng.choice((0, 0, 0.03)),
    }


def _add_note(
    total: np.ndarray, instrument: dict, frequency: float, moment: float, seconds: float, rng: np.random.Generator
) -> None:
    """Adds one note at ``moment`` seconds to ``total`` (32000,)."""
    time = np.arange(int((seconds + 0.05) * RATE), dtype=np.float32) / RATE
    sway = 1 + instrument["vibrato"] * np.sin(2 * np.pi * 5.5 * time) - instrument["bend"] * np.exp(-time / 0.05)
    phase = (2 * np.pi / RATE * frequency * np.cumsum(sway, dtype=np.float64)).astype(np.float32)
    orders = [order for order in range(1, len(instrument["strengths"]) + 1) if order * frequency < 7600]
    wave = sum(instrument["strengths"][order - 1] * np.sin(order * phase) for order in orders)
    shape = np.minimum(time / instrument["attack"], 1) * np.exp(-time / instrument["fade"])
    shape = shape * np.clip((time[-1] - time) / 0.05, 0, 1)
    _place(total, rng.uniform(0.5, 1) * wave * shape, int(moment * RATE))


def _beats(rng: np.random.Generator, beat: float) -> np.ndarray:
    """A drum kit on the beat, (32000,), peak 1: kicks, snares and cymbals."""
    total = np.zeros(SAMPLES, np.float32)
    time = np.arange(3200) / RATE
    for count, moment in enumerate(np.arange(0, 2, beat / 2)):
        if count % 4 == 0:
            hit = np.sin(2 * np.pi * (55 * time - 4 * np.exp(-time / 0.02))) * np.exp(-time / 0.06)
        else:
            dull = rng.standard_normal(3200)
            hit = (np.diff(dull, prepend=0) if count % 2 else dull) * np.exp(-time / rng.uniform(0.01, 0.06)) * 0.4
        _place(total, hit, int(moment * RATE))
    return _peaked(total)


def _place(total: np.ndarray, wave: np.ndarray, start: int) -> None:
    """Adds ``wave`` to ``total`` from sample ``start``, which may be negative; what hangs over is cut."""
    first, last = max(start, 0), min(start + len(wave), len(total))
    if first < last:
        total[first:last] += wave[first - start : last - start]


def _reverberated(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``wave`` in a room that rings for 0.1 to 1.2 seconds."""
    tail = rng.standard_normal(SAMPLES, dtype=np.float32) * np.exp(-_TIME * (6.9 / rng.uniform(0.1, 1.2)))
    tail[0] = rng.uniform(2, 30)
    length = 2 * SAMPLES
    return np.fft.irfft(np.fft.rfft(wave, length) * np.fft.rfft(tail, length), length)[:SAMPLES].astype(np.float32)
