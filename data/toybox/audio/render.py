"""What a scene sounds like: two seconds in which the thing is heard once, twice or three times.

Pitch is a factor on every frequency of the thing; pace stretches each sounding and the gaps between them; repeats
counts the soundings. Loudness, the first moment, a few per cent of everything and a faint room noise are jitter.
"""

from __future__ import annotations

import numpy as np

from data.toybox.audio.voices import VOICES
from data.toybox.audio.waves import RATE, Event
from data.toybox.world import Scene

SECONDS = 2.0
SAMPLES = int(SECONDS * RATE)
PITCH_FACTORS = {"low": 0.69, "medium": 1.0, "high": 1.45}
#: Seconds that one sounding lasts, and the silence before the next.
PACE_SECONDS = {"slow": (0.46, 0.17), "medium": (0.31, 0.15), "fast": (0.20, 0.13)}


def render_audio(scene: Scene) -> np.ndarray:
    """The sound of ``scene``: mono float32 (32000,) in [-1, 1] at 16 kHz."""
    rng = np.random.default_rng((scene.jitter, 0x50D))
    seconds, gap = (part * rng.uniform(0.97, 1.03) for part in PACE_SECONDS[scene.pace])
    pitch = PITCH_FACTORS[scene.pitch] * rng.uniform(0.98, 1.02)
    wave = np.zeros(SAMPLES, np.float32)
    moment = rng.uniform(0.04, 0.12)
    for _ in range(scene.repeats):
        event = Event(seconds, pitch, rng)
        start = int(moment * RATE)
        wave[start : start + event.length] += VOICES[scene.thing](event) * np.float32(rng.uniform(0.9, 1.0))
        moment += seconds + gap
    loudness = 0.85 * 10 ** (rng.uniform(-10, 0) / 20)
    wave *= loudness / np.abs(wave).max()
    return np.clip(wave + _room(rng), -1, 1)


def _room(rng: np.random.Generator) -> np.ndarray:
    """The faint noise of a room, (32000,), between -66 and -50 dB of full scale, duller towards the top."""
    drawn = rng.standard_normal((SAMPLES // 2 + 1, 2), dtype=np.float32).view(np.complex64)[:, 0]
    tilt = 1 / np.sqrt(np.arange(SAMPLES // 2 + 1, dtype=np.float32) + 200)
    wave = np.fft.irfft(drawn * tilt, SAMPLES).astype(np.float32)
    return wave * np.float32(10 ** (rng.uniform(-66, -50) / 20) / wave.std())
