"""What a scene sounds like: two seconds in which the thing is heard once, twice or three times.

Pitch is a factor on every frequency of the thing; pace stretches each sounding and the gaps between them; repeats
counts the soundings. Loudness, the first moment, a few per cent of everything and a faint room noise are jitter.

Each of the 16 things has one function, from an :class:`Event` to its wave, (N,) float32. All frequencies follow the
event's pitch and all inner times are shares of the event, so that a fast bark is quick inside as well as often. The
loudness is left to the caller.
"""

from collections.abc import Callable

import numpy as np

from data.toybox.audio.waves import RATE, Event, arch, closing, formants, harmonics, noise, plateau, strike, tone
from data.toybox.world import Scene

SECONDS = 2.0
SAMPLES = int(SECONDS * RATE)
PITCH_FACTORS = {"low": 0.69, "medium": 1.0, "high": 1.45}
#: Seconds that one sounding lasts, and the silence before the next.
PACE_SECONDS = {"slow": (0.46, 0.17), "medium": (0.31, 0.15), "fast": (0.20, 0.13)}


def bell(event: Event) -> np.ndarray:
    """One stroke: inharmonic partials, the high ones gone first, with a slow beat."""
    base = event.near(700 * event.pitch)
    total = np.zeros(event.length, np.float32)
    partials = ((0.5, 0.5, 0.42), (1, 1, 0.34), (1.19, 0.7, 0.26), (1.5, 0.4, 0.2), (2, 0.8, 0.2), (2.74, 0.5, 0.13))
    for ratio, strength, fade in (*partials, (4.1, 0.35, 0.08)):
        total += strength * strike(event, 0.01, fade) * tone(base * ratio, event)
    beat = 1 + 0.25 * np.cos(2 * np.pi * 4 * event.progress)
    return total * beat * closing(event, 0.2)


def drum(event: Event) -> np.ndarray:
    """Ba-da-dum: three falling thumps with a skin noise, the last one left to ring."""
    total = np.zeros(event.length, np.float32)
    skin = noise(event, 420 * event.pitch, 0.8)
    for start, strength, fade in ((0.01, 0.6, 0.07), (0.25, 0.7, 0.07), (0.5, 1.0, 0.15)):
        since = np.maximum(event.progress - start, 0)
        fall = event.pitch * (105 + 150 * np.exp(-since / 0.05))
        body = harmonics(fall, np.array([1, 0.35, 0.1]), event)
        total += strength * strike(event, start, fade) * body
        total += 0.45 * strength * strike(event, start, fade * 0.35) * skin
    return total * closing(event, 0.15)


def bird(event: Event) -> np.ndarray:
    """Three chirps, each sweeping up and over."""
    place = event.progress * 3
    inside = place - np.floor(place)
    step = np.minimum(np.floor(place), 2) * 0.05
    sweep = event.near(2450) * event.pitch * (1 + step) * (1 + 0.42 * arch(inside / 0.8) ** 1.5)
    shape = arch(inside / 0.72) ** 0.8
    return shape * harmonics(sweep, np.array([1, 0.12]), event)


def car(event: Event) -> np.ndarray:
    """A rumbling engine under two honks of a two-note horn."""
    turn = event.near(62) * event.pitch * (1 + 0.15 * event.progress)
    engine = harmonics(turn, 1 / np.arange(1, 9) ** 0.6, event)
    low = event.near(390) * event.pitch
    horn_weights = np.array([1, 0.9, 0.8, 0.6, 0.45, 0.3, 0.2])
    horn = harmonics(low, horn_weights, event) + harmonics(low * 1.26, horn_weights, event)
    honks = plateau(event, 0.1, 0.38, 0.12, 0.2) + plateau(event, 0.5, 0.95, 0.08, 0.15)
    return 0.3 * engine * plateau(event, 0, 1, 0.08, 0.1) + 0.5 * honks * horn


def clock(event: Event) -> np.ndarray:
    """Tick, then a lower tock: short knocks of a wooden case."""
    total = np.zeros(event.length, np.float32)
    for start, height in ((0.02, 1.0), (0.52, 0.74)):
        base = event.near(1750) * event.pitch * height
        ring = strike(event, start, 0.018 / event.seconds, attack=0.002)
        knock = tone(base, event) + 0.55 * tone(base * 2.3, event) + 0.25 * noise(event, base * 1.5, 0.5)
        total += ring * knock
    return total * closing(event)


def rain(event: Event) -> np.ndarray:
    """A hiss with drops pattering in it."""
    centre = event.near(2500) * event.pitch
    hiss = noise(event, centre, 0.45, floor=0.02)
    starts = (np.arange(7) + event.rng.uniform(0.1, 0.7, 7)) / 7.5
    drops = sum(event.rng.uniform(0.6, 1.3) * strike(event, start, 0.035, attack=0.003) for start in starts)
    return (0.3 + 1.8 * drops) * hiss * plateau(event, 0, 1, 0.06, 0.1)


def dog(event: Event) -> np.ndarray:
    """Woof woof: two short barks with an open mouth and a rough throat."""
    total = np.zeros(event.length, np.float32)
    for start, height in ((0.02, 1.0), (0.5, 1.08)):
        yelp = arch((event.progress - start) / 0.4)
        base = event.near(270) * event.pitch * height * (0.8 + 0.5 * yelp**0.7)
        mouth = [((620 + 260 * yelp) * event.pitch, 0.35, 1.0), (1700 * event.pitch, 0.3, 0.45)]
        bark = harmonics(base, formants(base, mouth, 9), event)
        rasp = noise(event, 900 * event.pitch, 0.7)
        total += plateau(event, start, start + 0.4, 0.12, 0.7) * (bark + 0.25 * rasp)
    return total


def cat(event: Event) -> np.ndarray:
    """A meow: one long glide up and down while the mouth opens and closes."""
    opening = arch(event.progress**0.8)
    base = event.near(520) * event.pitch * (0.85 + 0.5 * opening)
    mouth = [((1000 + 1100 * opening) * event.pitch, 0.45, 1.0), (3300 * event.pitch, 0.25, 0.3)]
    weights = formants(base, mouth, 9)
    weights[0] += 0.5
    return plateau(event, 0, 1, 0.25, 0.4) * harmonics(base, weights, event)


def frog(event: Event) -> np.ndarray:
    """A croak: a train of hollow pulses that swells and rises."""
    place = event.progress * 7
    inside = place - np.floor(place)
    pulse = np.clip(inside / 0.08, 0, 1) * np.exp(-inside / 0.24)
    hollow = event.near(560) * event.pitch * (1 + 0.12 * event.progress)
    body = tone(hollow, event) + 0.5 * tone(hollow * 2.02, event) + 0.3 * tone(hollow * 3.1, event)
    return pulse * body * (0.5 + 0.5 * event.progress) * closing(event)


def bee(event: Event) -> np.ndarray:
    """A buzz: a dense comb of harmonics whose pitch sways."""
    sway = 1 + 0.07 * np.sin(2 * np.pi * (4 * event.progress + event.rng.uniform()))
    base = event.near(195) * event.pitch * sway
    wings = [(650 * event.pitch, 0.8, 1.0), (2300 * event.pitch, 0.5, 0.6)]
    weights = formants(float(base.mean()), wings, 20)
    return plateau(event, 0, 1, 0.2, 0.25) * harmonics(base, weights, event)


def train(event: Event) -> np.ndarray:
    """Three chuffs of steam, then a whistle of three notes."""
    steam = noise(event, 800 * event.pitch, 0.8, floor=0.03)
    chuffs = sum(strike(event, start, 0.045, attack=0.006) for start in (0.01, 0.16, 0.31))
    base = event.near(520) * event.pitch * (1 - 0.04 * event.progress)
    whistle = sum(harmonics(base * ratio, np.array([1, 0.35, 0.15]), event) for ratio in (1, 1.26, 1.5))
    return 0.8 * chuffs * steam + 0.5 * plateau(event, 0.45, 1, 0.15, 0.2) * whistle


def phone(event: Event) -> np.ndarray:
    """A ring that warbles between two tones."""
    switch = np.tanh(3 * np.sin(2 * np.pi * 4 * event.progress))
    base = event.near(1150) * event.pitch * (1 + 0.14 * switch)
    return plateau(event, 0, 1, 0.06, 0.06) * harmonics(base, np.array([1, 0.15, 0.35, 0.05, 0.12]), event)


def kettle(event: Event) -> np.ndarray:
    """A whistle that rises and grows out of hissing steam."""
    rise = event.progress**0.7
    base = event.near(1500) * event.pitch * (1 + 0.6 * rise)
    whistle = harmonics(base * (1 + 0.004 * np.sin(2 * np.pi * 9 * event.progress)), np.array([1, 0.2, 0.06]), event)
    steam = noise(event, 3300 * event.pitch, 0.6)
    return plateau(event, 0, 1, 0.12, 0.12) * ((0.25 + 0.75 * rise) * whistle + 0.16 * steam)


def fire(event: Event) -> np.ndarray:
    """Crackles over a low roar."""
    roar = noise(event, event.near(230) * event.pitch, 0.6)
    starts = (np.arange(5) + event.rng.uniform(0.15, 0.75, 5)) / 5
    total = 0.3 * roar
    for start in starts:
        centre = event.pitch * event.rng.uniform(1150, 1450)
        snap = strike(event, start, 0.008 / event.seconds, attack=0.002)
        total += event.rng.uniform(0.7, 1.3) * snap * noise(event, centre, 0.4)
    return total * plateau(event, 0, 1, 0.1, 0.12)


def boat(event: Event) -> np.ndarray:
    """A foghorn: one deep blast that drops to a deeper grunt."""
    drop = 1 - 0.22 / (1 + np.exp(-(event.progress - 0.62) * 60))
    base = event.near(128) * event.pitch * drop
    weights = np.array([0.8, 1, 0.9, 0.7, 0.45, 0.25, 0.12])
    throb = 1 + 0.15 * np.cos(2 * np.pi * 3 * event.progress)
    return plateau(event, 0, 1, 0.12, 0.15) * throb * harmonics(base, weights, event)


def siren(event: Event) -> np.ndarray:
    """Two wails, up and down."""
    wail = 0.5 - 0.5 * np.cos(2 * np.pi * 2 * event.progress)
    base = event.near(560) * event.pitch * 2 ** (0.95 * wail)
    return plateau(event, 0, 1, 0.08, 0.08) * harmonics(base, np.array([1, 0.45, 0.3, 0.12]), event)


#: The voice of every thing of the world.
VOICES: dict[str, Callable[[Event], np.ndarray]] = {
    voice.__name__: voice
    for voice in (bell, drum, bird, car, clock, rain, dog, cat, frog, bee, train, phone, kettle, fire, boat, siren)
}


def sounding(thing: str, seconds: float, pitch: float, seed: int) -> np.ndarray:
    """One sounding of a thing alone, float32 (N,) at 16 kHz: ``seconds`` long, at most half of one."""
    return VOICES[thing](Event(seconds, pitch, np.random.default_rng(seed)))


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
