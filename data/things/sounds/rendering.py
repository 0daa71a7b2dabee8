"""Sounds of scenes, from the recordings of the bank.

Shapes: N samples at 16 kHz.
"""

from collections.abc import Iterator

import numpy as np

from data.things.sounds.bank import RATE, loudest, recordings, samples
from data.things.sounds.kinds import Kind, kinds
from data.things.sounds.scenes import MOST, SoundScene

#: Length of a sound: 256 frames of a hundredth of a second.
SECONDS = 2.56
#: Pace -> least and greatest seconds from one note to the next.
_SPACING = {"quick": (0.17, 0.21), "": (0.29, 0.34), "slow": (0.45, 0.5)}
#: Pitch -> the stretch of an instrument's range.
_ZONES = {"low": (0.0, 0.28), "": (0.36, 0.64), "high": (0.72, 1.0)}
#: Loudness -> RMS of the loudest fifth of a second; peaks count as six times less.
_LEVELS = {"soft": (0.011, 0.015), "": (0.04, 0.06), "loud": (0.15, 0.163)}
_SCALE = (0, 2, 4, 5, 7, 9, 11)
_RELEASE = 0.06
#: What is played: when (seconds), for how long, and at which pitch (semitones of MIDI, or away from the recording).
Played = Iterator[tuple[float, float, float]]


def render_sound(scene: SoundScene) -> np.ndarray:
    """float32 (N,) of SECONDS at 16 kHz in [-1, 1]. BankMissing where the bank of sounds is not there."""
    kind, rng = kinds()[scene.kind], np.random.default_rng((scene.jitter, 0x50))
    wave = np.zeros(round(SECONDS * RATE), np.float32)
    parts = {"notes": _notes, "hits": _hits, "events": _events, "steady": _steady}[kind.form](scene, kind, rng)
    for start, seconds, pitch in parts:
        _add(wave, round(start * RATE), _sounding(kind, pitch, seconds, rng))
    wave = _in_a_room(wave, rng)
    level = rng.uniform(*_LEVELS[scene.loudness]) / max(loudest(wave), float(np.abs(wave).max()) / 6)
    noise = rng.standard_normal(len(wave)) * 10 ** (rng.uniform(-76, -60) / 20)
    return (wave * level + noise).clip(-1, 1).astype(np.float32)


def _notes(scene: SoundScene, kind: Kind, rng: np.random.Generator) -> Played:
    """A melody, or so many notes near each other."""
    low, high = kind.range
    least, greatest = (low + share * (high - low) for share in _ZONES[scene.pitch])
    count = scene.count or int(rng.integers(3, 6))
    spacing = float(rng.uniform(*_SPACING[scene.pace]))
    if scene.touch == "long":
        spacing = float(rng.uniform(0.95, 1.1)) if count == 2 else 2.2
    elif count == 1:
        spacing = float(rng.uniform(0.6, 0.9))
    start, pitches = float(rng.uniform(0.03, 0.1)), _pitches(rng, least, greatest, count)
    for number, pitch in enumerate(pitches):
        last = number == count - 1
        length = spacing * (0.85 if kind.held and not last else 1.0) if kind.held else spacing
        length = float(rng.uniform(0.09, 0.13)) if scene.touch == "short" else length
        yield start, length if kind.held or not last else SECONDS, pitch
        melodic = 1.0 if scene.count else float(rng.choice((0.6, 1.0, 1.0, 1.5)))
        start += spacing * melodic * float(rng.uniform(0.96, 1.04))


def _pitches(rng: np.random.Generator, least: float, greatest: float, count: int) -> list[float]:
    """Notes of one major scale between two notes, mostly in small steps; one note again and again at times."""
    key = int(rng.integers(12))
    scale = [note for note in range(round(least), round(greatest) + 1) if (note - key) % 12 in _SCALE]
    place = int(rng.integers(len(scale)))
    steps = (0,) if rng.random() < 0.25 else (-2, -1, -1, 1, 1, 2)
    found = []
    for _ in range(count):
        found.append(float(scale[place]))
        place = int(np.clip(place + rng.choice(steps), 0, len(scale) - 1))
    return found


def _hits(scene: SoundScene, kind: Kind, rng: np.random.Generator) -> Played:
    count = scene.count or int(rng.integers(2, MOST["hits"] + 1))
    spacing, start = float(rng.uniform(*_SPACING[scene.pace])), float(rng.uniform(0.03, 0.15))
    pitch = float(rng.uniform(-1, 1))
    for _ in range(count):
        yield start, SECONDS, pitch
        start += spacing * float(rng.uniform(0.96, 1.04))


def _events(scene: SoundScene, kind: Kind, rng: np.random.Generator) -> Played:
    count = scene.count or int(rng.integers(1, MOST["events"] + 1))
    spacing, start = float(rng.uniform(0.72, 0.8)), float(rng.uniform(0.03, 0.15))
    pitch = float(rng.uniform(-1.5, 1.5))
    for _ in range(count):
        yield start, 0.66 if count > 1 else SECONDS, pitch
        start += spacing


def _steady(scene: SoundScene, kind: Kind, rng: np.random.Generator) -> Played:
    """One recording all the time, or short ones without a gap."""
    pitch = float(rng.uniform(-1.5, 1.5))
    if kind.made[0] != "voice":
        yield 0.0, SECONDS, pitch
        return
    start = -float(rng.uniform(0, 0.3))
    while start < SECONDS:
        yield max(start, 0.0), 1.0, pitch
        start += 0.5 if kind.name == "clock" else 0.3


def _sounding(kind: Kind, pitch: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """One recording at a pitch, ended softly after ``seconds``."""
    rows = recordings()[kind.name]
    if kind.form == "notes":
        row = min(rows, key=lambda row: abs(row.note - pitch))
        shift = pitch - row.note
    else:
        row, shift = rows[int(rng.integers(len(rows)))], pitch
    wave, speed = samples(row), 2 ** (shift / 12)
    count = min(round(seconds * RATE), int((len(wave) - 1) / speed))
    spare = len(wave) - 1 - count * speed
    begin = float(rng.uniform(0, spare)) if kind.form == "steady" and kind.made[0] != "voice" else 0.0
    wave = np.interp(begin + np.arange(count) * speed, np.arange(len(wave)), wave).astype(np.float32)
    fade = min(round(_RELEASE * RATE), count)
    wave[count - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return wave * np.float32(rng.uniform(0.9, 1.0))


def _add(wave: np.ndarray, start: int, part: np.ndarray) -> None:
    room = max(min(len(part), len(wave) - start), 0)
    wave[start : start + room] += part[:room]


def _in_a_room(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A little of the echo of a small or a large room, or none."""
    if rng.random() < 0.4:
        return wave
    seconds, share = rng.uniform(0.12, 0.45), rng.uniform(0.03, 0.15)
    count = round(seconds * RATE)
    echo = rng.standard_normal(count) * np.exp(-5 * np.arange(count) / count)
    echo /= np.sqrt((echo**2).sum())
    size = 1 << (len(wave) + count).bit_length()
    wet = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(echo, size), size)[: len(wave)]
    return ((1 - share) * wave + share * wet).astype(np.float32)
