"""The four backgrounds: a soft sky, a ground with a wavy edge, and a few decorations placed by the scene's jitter.

Their hues keep away from the eight colours of things: pale and greyish by day, dark navy at night.
"""

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
    """The background ``name`` as an RGB image of ``pixels`` x ``pixels``; ``rng`` places its details."""
    image = _sky(name, pixels).copy()
    horizon = 0.66 + 0.04 * rng.uniform(-1, 1)
    DECORATORS[name](_Canvas(image, rng), rng, horizon)
    return image


@lru_cache(maxsize=16)
def _sky(name: str, pixels: int) -> Image.Image:
    top, low, _ = (np.array(colour, dtype=np.float64) for colour in SKIES[name])
    fade = np.minimum(np.arange(pixels) / (0.7 * pixels), 1.0)[:, None]
    rows = np.rint(top + (low - top) * fade).astype(np.uint8)
    return Image.fromarray(np.repeat(rows[:, None, :], pixels, axis=1))


class _Canvas:
    """Draws on an image in fractions of its side."""

    def __init__(self, image: Image.Image, rng: np.random.Generator) -> None:
        self.pixels, self.rng, self.draw = image.width, rng, ImageDraw.Draw(image)

    def ground(self, horizon: float, waves: float, ink: Colour) -> None:
        """Everything below a wavy edge at ``horizon``."""
        x = np.linspace(0, 1, 17)
        y = horizon + waves * np.sin(2 * np.pi * (x * self.rng.uniform(0.7, 1.3) + self.rng.random()))
        edge = (np.stack([x, y], axis=1) * self.pixels).ravel().tolist()
        self.draw.polygon([*edge, self.pixels, self.pixels, 0, self.pixels], fill=ink)

    def dot(self, x: float, y: float, radius: float, ink: Colour) -> None:
        corners = (x - radius, y - radius, x + radius, y + radius)
        self.draw.ellipse([each * self.pixels for each in corners], fill=ink)

    def line(self, x: float, y: float, end_x: float, end_y: float, ink: Colour, width: int = 2) -> None:
        self.draw.line([each * self.pixels for each in (x, y, end_x, end_y)], fill=ink, width=width)


def _snow(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    canvas.ground(horizon - 0.05, 0.03, (234, 239, 246))
    canvas.ground(horizon + 0.03, 0.025, SKIES["snow"][2])
    for x, y, radius in rng.uniform((0, 0, 0.008), (1, horizon, 0.019), (18, 3)):
        canvas.dot(x, y, radius, (255, 255, 255))


def _meadow(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    canvas.ground(horizon - 0.04, 0.04, (208, 226, 192))
    canvas.ground(horizon + 0.04, 0.03, SKIES["meadow"][2])
    for x, y in rng.uniform((0.03, horizon + 0.09), (0.97, 0.98), (9, 2)):
        for lean in (-0.014, 0.0, 0.014):
            canvas.line(x, y, x + lean, y - 0.03, (160, 190, 138))
    for x, y in rng.uniform((0.04, horizon + 0.1), (0.96, 0.96), (7, 2)):
        for right, down in ((0.015, 0), (-0.015, 0), (0, 0.015), (0, -0.015)):
            canvas.dot(x + right, y + down, 0.011, (255, 255, 255))
        canvas.dot(x, y, 0.008, (232, 214, 150))


def _beach(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    sea = horizon - 0.12
    canvas.draw.rectangle((0, sea * canvas.pixels, canvas.pixels, canvas.pixels), fill=(172, 212, 218))
    for x, y in rng.uniform((0, sea + 0.02), (0.9, horizon - 0.03), (6, 2)):
        canvas.line(x, y, x + 0.08, y, (214, 236, 238))
    edge = rng.bit_generator.state
    canvas.ground(horizon - 0.015, 0.014, (250, 250, 246))
    rng.bit_generator.state = edge  # the sand has the same edge as the foam
    canvas.ground(horizon + 0.005, 0.014, SKIES["beach"][2])
    for x, y in rng.uniform((0.04, horizon + 0.08), (0.96, 0.97), (6, 2)):
        corners = (x - 0.026, y - 0.026, x + 0.026, y + 0.026)
        canvas.draw.pieslice([each * canvas.pixels for each in corners], 180, 360, fill=(252, 246, 236))
        canvas.line(x, y, x, y - 0.02, (214, 194, 164), width=1)
    for x, y in rng.uniform((0.02, horizon + 0.05), (0.98, 0.98), (14, 2)):
        canvas.dot(x, y, 0.005, (214, 196, 162))


def _night(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    for x, y, radius in rng.uniform((0.01, 0.01, 0.004), (0.99, horizon, 0.01), (22, 3)):
        canvas.dot(x, y, radius, (214, 220, 240))
    moon_x, moon_y = rng.uniform((0.08, 0.08), (0.92, 0.16))
    canvas.dot(moon_x, moon_y, 0.06, (228, 230, 236))
    canvas.dot(moon_x + 0.025, moon_y - 0.01, 0.052, (28, 34, 86))
    canvas.ground(horizon, 0.04, (44, 52, 102))
    canvas.ground(horizon + 0.1, 0.03, SKIES["night"][2])


DECORATORS = {"snow": _snow, "meadow": _meadow, "beach": _beach, "night": _night}
