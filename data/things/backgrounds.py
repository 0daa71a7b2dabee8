"""Backgrounds of scenes: plain ones in soft colours, and eight places."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
#: Place -> sky at the top, sky at the horizon, ground, and how high the horizon stands (0 = top).
PLACES: dict[str, tuple[Colour, Colour, Colour, float]] = {
    "meadow": ((120, 190, 240), (214, 238, 250), (122, 190, 84), 0.62),
    "beach": ((110, 200, 236), (200, 240, 246), (240, 216, 160), 0.66),
    "sea": ((150, 206, 244), (224, 242, 252), (28, 110, 178), 0.46),
    "snow": ((176, 200, 224), (226, 236, 246), (248, 250, 253), 0.62),
    "desert": ((250, 196, 120), (252, 228, 176), (224, 170, 96), 0.6),
    "forest": ((150, 200, 160), (196, 226, 186), (70, 108, 58), 0.7),
    "night sky": ((10, 14, 48), (44, 52, 112), (24, 30, 58), 0.84),
    "room": ((240, 226, 206), (232, 216, 194), (158, 112, 76), 0.72),
}


def paint_background(name: str, rng: np.random.Generator, side: int) -> Image.Image:
    """The place ``name``, or a plain background for "", as an RGB image of ``side`` x ``side``; ``rng`` varies it."""
    if not name:
        return _plain(rng, side)
    top, low, ground, horizon = PLACES[name]
    large = 2 * side  # drawn at twice the size, then halved: smooth edges
    horizon += float(rng.uniform(-0.04, 0.04))
    rows = np.clip(np.linspace(0, 1, large) / horizon, 0, 1)[:, None]
    sky = np.asarray(top) * (1 - rows) + np.asarray(low) * rows
    image = Image.fromarray(np.repeat(sky[:, None, :], large, axis=1).astype(np.uint8))
    canvas = _Canvas(ImageDraw.Draw(image), large, rng)
    _BEHIND.get(name, _nothing)(canvas, horizon)
    canvas.ground(horizon, 0.0 if name in ("room", "sea") else 0.02, ground)
    _BEFORE.get(name, _nothing)(canvas, horizon)
    image = image.filter(ImageFilter.GaussianBlur(large / 256)).resize((side, side), Image.Resampling.BOX)
    light = rng.uniform(0.92, 1.06)
    return Image.fromarray(np.clip(np.asarray(image) * light, 0, 255).astype(np.uint8))


def _plain(rng: np.random.Generator, side: int) -> Image.Image:
    """White, grey, or a fade between two tones of one soft hue."""
    hue, low, high = rng.integers(256), rng.uniform(0.0, 0.45), rng.uniform(0.72, 1.0)
    corners = np.stack([np.full(4, hue), 255 * low * rng.uniform(0.4, 1, 4), 255 * high * rng.uniform(0.85, 1, 4)], -1)
    if rng.random() < 0.25:
        corners[:, 1:] = (0, 255 if rng.random() < 0.6 else rng.uniform(120, 250))
    small = Image.fromarray(corners.reshape(2, 2, 3).astype(np.uint8), "HSV").convert("RGB")
    return small.resize((side, side), Image.Resampling.BILINEAR)


class _Canvas:
    """Draws in fractions of the image's side."""

    def __init__(self, draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
        self.draw, self.side, self.rng = draw, side, rng

    def ground(self, horizon: float, waves: float, ink: Colour) -> None:
        """Everything below a wavy edge."""
        x = np.linspace(0, 1, 17)
        y = horizon + waves * np.sin(2 * np.pi * (x * self.rng.uniform(0.6, 1.4) + self.rng.random()))
        edge = (np.stack([x, y], axis=1) * self.side).ravel().tolist()
        self.draw.polygon([*edge, self.side, self.side, 0, self.side], fill=ink)

    def dots(self, count: int, low: float, high: float, radius: tuple[float, float], ink: Colour) -> None:
        """``count`` round spots between the heights ``low`` and ``high``."""
        for x, y, size in zip(*self._places(count, low, high), self.rng.uniform(*radius, count), strict=True):
            box = [each * self.side for each in (x - size, y - size, x + size, y + size)]
            self.draw.ellipse(box, fill=ink)

    def strokes(self, count: int, low: float, high: float, reach: tuple[float, float], ink: Colour) -> None:
        """``count`` short lines that reach ``reach`` (x, y) further."""
        for x, y in zip(*self._places(count, low, high), strict=True):
            line = [each * self.side for each in (x, y, x + reach[0], y + reach[1])]
            self.draw.line(line, fill=ink, width=max(self.side // 100, 1))

    def trees(self, count: int, base: float, height: tuple[float, float], ink: Colour) -> None:
        """Firs that stand at ``base``."""
        for x, tall in zip(self.rng.uniform(0, 1, count), self.rng.uniform(*height, count), strict=True):
            corners = ((x - tall / 4, base), (x, base - tall), (x + tall / 4, base))
            self.draw.polygon([(a * self.side, b * self.side) for a, b in corners], fill=ink)

    def _places(self, count: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        return self.rng.uniform(0, 1, count), self.rng.uniform(low, high, count)


def _nothing(canvas: _Canvas, horizon: float) -> None:
    pass


def _meadow(canvas: _Canvas, horizon: float) -> None:
    canvas.strokes(40, horizon + 0.03, 1, (0.0, -0.03), (96, 164, 66))
    canvas.dots(9, horizon + 0.05, 1, (0.006, 0.01), (250, 240, 140))


def _beach(canvas: _Canvas, horizon: float) -> None:
    canvas.draw.rectangle((0, (horizon - 0.16) * canvas.side, canvas.side, horizon * canvas.side), fill=(52, 156, 200))


def _sea(canvas: _Canvas, horizon: float) -> None:
    canvas.strokes(26, horizon + 0.03, 1, (0.07, 0.0), (86, 160, 216))


def _snow(canvas: _Canvas, horizon: float) -> None:
    canvas.dots(45, 0, 1, (0.004, 0.01), (255, 255, 255))


def _dunes(canvas: _Canvas, horizon: float) -> None:
    canvas.ground(horizon + 0.14, 0.05, (206, 148, 78))


def _firs(canvas: _Canvas, horizon: float) -> None:
    canvas.trees(14, horizon + 0.02, (0.3, 0.55), (92, 146, 96))
    canvas.trees(9, horizon + 0.03, (0.35, 0.65), (56, 108, 66))


def _stars(canvas: _Canvas, horizon: float) -> None:
    canvas.dots(40, 0, horizon, (0.003, 0.007), (250, 246, 214))


def _boards(canvas: _Canvas, horizon: float) -> None:
    for y in np.linspace(horizon, 1, 4)[1:-1]:
        canvas.draw.line((0, y * canvas.side, canvas.side, y * canvas.side), fill=(136, 94, 62), width=3)


_BEHIND: dict[str, Callable[[_Canvas, float], None]] = {"beach": _beach, "forest": _firs, "night sky": _stars}
_BEFORE: dict[str, Callable[[_Canvas, float], None]] = {
    "meadow": _meadow,
    "sea": _sea,
    "snow": _snow,
    "desert": _dunes,
    "room": _boards,
}
