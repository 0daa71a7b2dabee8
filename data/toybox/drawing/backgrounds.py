"""The four backgrounds: a soft sky, a ground with a wavy edge, and a few decorations placed by the scene's jitter.

Their hues keep away from the eight colours of things: pale and greyish by day, dark navy at night.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

#: Sky at the top, sky at the horizon, ground.
SKIES: dict[str, tuple[Colour, Colour, Colour]] = {
    "snow": ((196, 208, 222), (226, 232, 240), (250, 251, 253)),
    "meadow": ((220, 236, 242), (240, 246, 240), (190, 214, 170)),
    "beach": ((206, 232, 240), (236, 244, 244), (238, 222, 190)),
    "night": ((24, 30, 80), (54, 64, 128), (36, 42, 84)),
}


def paint_background(name: str, rng: np.random.Generator, pixels: int) -> Image.Image:
    """The background ``name`` as an RGB picture of ``pixels`` x ``pixels``; ``rng`` places its details."""
    picture = _sky(name, pixels).copy()
    draw = ImageDraw.Draw(picture)
    horizon = 0.66 + 0.04 * rng.uniform(-1, 1)
    DECORATORS[name](draw, rng, pixels, horizon)
    return picture


@lru_cache(maxsize=16)
def _sky(name: str, pixels: int) -> Image.Image:
    top, low, _ = (np.array(colour, dtype=np.float64) for colour in SKIES[name])
    fade = np.minimum(np.arange(pixels) / (0.7 * pixels), 1.0)[:, None]
    rows = np.rint(top + (low - top) * fade).astype(np.uint8)
    return Image.fromarray(np.repeat(rows[:, None, :], pixels, axis=1))


def _ground(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, pixels: int, horizon: float, waves: float, ink: Colour
) -> None:
    x = np.linspace(0, 1, 17)
    y = horizon + waves * np.sin(2 * np.pi * (x * rng.uniform(0.7, 1.3) + rng.random()))
    edge = (np.stack([x, y], axis=1) * pixels).ravel().tolist()
    draw.polygon([*edge, pixels, pixels, 0, pixels], fill=ink)


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, pixels: int, ink: Colour) -> None:
    draw.ellipse(((x - radius) * pixels, (y - radius) * pixels, (x + radius) * pixels, (y + radius) * pixels), fill=ink)


def _snow(draw: ImageDraw.ImageDraw, rng: np.random.Generator, pixels: int, horizon: float) -> None:
    _ground(draw, rng, pixels, horizon - 0.05, 0.03, (234, 239, 246))
    _ground(draw, rng, pixels, horizon + 0.03, 0.025, SKIES["snow"][2])
    for x, y, radius in rng.uniform((0, 0, 0.008), (1, horizon, 0.019), (18, 3)):
        _dot(draw, x, y, radius, pixels, (255, 255, 255))


def _meadow(draw: ImageDraw.ImageDraw, rng: np.random.Generator, pixels: int, horizon: float) -> None:
    _ground(draw, rng, pixels, horizon - 0.04, 0.04, (208, 226, 192))
    _ground(draw, rng, pixels, horizon + 0.04, 0.03, SKIES["meadow"][2])
    for x, y in rng.uniform((0.03, horizon + 0.09), (0.97, 0.98), (9, 2)):
        for lean in (-0.014, 0.0, 0.014):
            draw.line((x * pixels, y * pixels, (x + lean) * pixels, (y - 0.03) * pixels), fill=(160, 190, 138), width=2)
    for x, y in rng.uniform((0.04, horizon + 0.1), (0.96, 0.96), (7, 2)):
        for step in ((0.015, 0), (-0.015, 0), (0, 0.015), (0, -0.015)):
            _dot(draw, x + step[0], y + step[1], 0.011, pixels, (255, 255, 255))
        _dot(draw, x, y, 0.008, pixels, (232, 214, 150))


def _beach(draw: ImageDraw.ImageDraw, rng: np.random.Generator, pixels: int, horizon: float) -> None:
    sea = horizon - 0.12
    draw.rectangle((0, sea * pixels, pixels, pixels), fill=(172, 212, 218))
    for x, y in rng.uniform((0, sea + 0.02), (0.9, horizon - 0.03), (6, 2)):
        draw.line((x * pixels, y * pixels, (x + 0.08) * pixels, y * pixels), fill=(214, 236, 238), width=2)
    edge = rng.bit_generator.state
    _ground(draw, rng, pixels, horizon - 0.015, 0.014, (250, 250, 246))
    rng.bit_generator.state = edge
    _ground(draw, rng, pixels, horizon + 0.005, 0.014, SKIES["beach"][2])
    for x, y in rng.uniform((0.04, horizon + 0.08), (0.96, 0.97), (6, 2)):
        draw.pieslice(
            ((x - 0.026) * pixels, (y - 0.026) * pixels, (x + 0.026) * pixels, (y + 0.026) * pixels),
            180,
            360,
            fill=(252, 246, 236),
        )
        draw.line((x * pixels, y * pixels, x * pixels, (y - 0.02) * pixels), fill=(214, 194, 164), width=1)
    for x, y in rng.uniform((0.02, horizon + 0.05), (0.98, 0.98), (14, 2)):
        _dot(draw, x, y, 0.005, pixels, (214, 196, 162))


def _night(draw: ImageDraw.ImageDraw, rng: np.random.Generator, pixels: int, horizon: float) -> None:
    for x, y, radius in rng.uniform((0.01, 0.01, 0.004), (0.99, horizon, 0.01), (22, 3)):
        _dot(draw, x, y, radius, pixels, (214, 220, 240))
    moon_x, moon_y = rng.uniform((0.08, 0.08), (0.92, 0.16))
    _dot(draw, moon_x, moon_y, 0.06, pixels, (228, 230, 236))
    _dot(draw, moon_x + 0.025, moon_y - 0.01, 0.052, pixels, (28, 34, 86))
    _ground(draw, rng, pixels, horizon, 0.04, (44, 52, 102))
    _ground(draw, rng, pixels, horizon + 0.1, 0.03, SKIES["night"][2])


DECORATORS = {"snow": _snow, "meadow": _meadow, "beach": _beach, "night": _night}
