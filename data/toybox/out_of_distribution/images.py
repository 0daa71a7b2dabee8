"""Images from outside the world: noise, patterns, writing, unknown shapes, photograph-like collages.

Each maker takes a generator and a size and returns uint8 (size, size, 3).
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.toybox.drawing.render import Colour, paint_background
from data.toybox.out_of_distribution.photos import coloured, compressed, fractal, palette, photo, texture_close_up
from data.toybox.world import BACKGROUNDS

_LETTERS = "ABCDEFGHKLMNOPQRSTUVWXYZabdefghkmnpqrstuvwxyz0123456789?!&%@#"


def noise(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """White, blocky or fractal noise, grey or in colours, of any contrast."""
    kind = rng.choice(("white", "blocks", "fractal"))
    channels = int(rng.choice((1, 3)))
    if kind == "blocks":
        cells = int(rng.integers(2, 33))
        small = rng.uniform(0, 255, (cells, cells, channels)).astype(np.uint8).repeat(3 // channels, 2)
        resample = Image.Resampling.NEAREST if rng.random() < 0.6 else Image.Resampling.BICUBIC
        return np.asarray(Image.fromarray(small).resize((size, size), resample))
    if kind == "fractal":
        layers = [fractal(rng, size, rng.uniform(0.2, 2.5)) for _ in range(channels)]
        values = np.stack(layers, -1) * rng.uniform(20, 80)
    else:
        values = rng.normal(0, rng.uniform(10, 120), (size, size, channels))
    return _bytes(values.repeat(3 // channels, 2) + rng.uniform(60, 200, 3))


def gradient(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """A smooth run of colours: straight, round or conical."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    x, y = x - rng.uniform(-0.8, 0.8), y - rng.uniform(-0.8, 0.8)
    turn = rng.uniform(0, 2 * np.pi)
    straight = x * np.cos(turn) + y * np.sin(turn)
    height = (straight, 2 * np.hypot(x, y) - 1.5, np.arctan2(y, x) / 2)[int(rng.integers(3))]
    return _bytes(255 * coloured(height * rng.uniform(0.6, 1.6), palette(rng, muted=0.3)))


def plain(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Black, white, grey or one colour all over."""
    colour = rng.choice((0, 255, rng.uniform(0, 255))) * np.ones(3) if rng.random() < 0.5 else rng.uniform(0, 255, 3)
    return _bytes(np.broadcast_to(colour, (size, size, 3)) + rng.normal(0, rng.choice((0, 1.5)), (size, size, 1)))


def pattern(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Checkerboards, stripes, rings, dots in rows, plaid and moire in two or three colours."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    turn, pace = rng.uniform(0, np.pi), rng.uniform(2, 25)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    first, second = np.sin(2 * np.pi * pace * along), np.sin(2 * np.pi * pace * rng.choice((1, 0.5, 1.3)) * across)
    rings = np.sin(2 * np.pi * pace * np.hypot(x - rng.uniform(), y - rng.uniform()))
    height = (first, first * second, first + second, np.minimum(first, second), rings, rings * first)
    chosen = height[int(rng.integers(len(height)))] + rng.choice((-0.4, 0, 0.4))
    sharp = rng.choice((1, 4, 60))
    return _bytes(255 * coloured(1.5 * np.tanh(sharp * chosen), palette(rng, muted=0.4)))


def dots(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Many discs scattered at random: confetti, bubbles, stars."""
    picture, draw = _canvas(_any_colour(rng), size)
    reach = rng.uniform(0.005, 0.09)
    colours = [_any_colour(rng) for _ in range(int(rng.integers(1, 6)))]
    for _ in range(int(min(250, rng.uniform(0.05, 0.6) / (3.2 * reach**2)))):
        (x, y), radius = rng.uniform(0, 1, 2) * 2 * size, reach * rng.uniform(0.5, 1.4) * 2 * size
        shape = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(shape, fill=colours[int(rng.integers(len(colours)))])
    return _finished(picture, size)


def writing(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Lines of letters, a few large ones, or pen strokes, dark on light or light on dark."""
    paper, ink = _paper_and_ink(rng)
    picture, draw = _canvas(paper, size)
    kind = rng.choice(("page", "letters", "strokes"))
    if kind == "page":
        height = int(rng.integers(8, 40))
        font = ImageFont.load_default(height)
        for top in range(int(rng.integers(0, 30)), 2 * size, int(height * rng.uniform(1.1, 1.8))):
            words = "".join(rng.choice(list(_LETTERS + "     "), int(rng.integers(3, 40))))
            draw.text((int(rng.integers(2, 40)), top), words, fill=ink, font=font)
    elif kind == "letters":
        for _ in range(int(rng.integers(1, 4))):
            font = ImageFont.load_default(int(rng.integers(size // 2, 2 * size)))
            place = tuple(rng.uniform(-0.1, 0.6, 2) * 2 * size)
            draw.text(place, str(rng.choice(list(_LETTERS))), fill=ink, font=font)
    else:
        _strokes(draw, rng, size, ink)
    return _finished(picture, size, rng if rng.random() < 0.3 else None)


def screen(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Rectangles, rules and bars, as on forms, charts and screenshots."""
    paper, ink = _paper_and_ink(rng)
    picture, draw = _canvas(paper, size)
    for _ in range(int(rng.integers(2, 14))):
        left, top = rng.uniform(0, 0.9, 2) * 2 * size
        right, bottom = left + rng.uniform(0.03, 0.7) * 2 * size, top + rng.uniform(0.01, 0.3) * 2 * size
        fill = _any_colour(rng) if rng.random() < 0.5 else None
        fits = max(0.0, min(right - left, bottom - top) / 2 - 1)  # Pillow fails at corners that nearly meet
        radius = min(float(rng.choice((0, 8))), fits)
        draw.rounded_rectangle((left, top, right, bottom), radius, fill, ink, int(rng.integers(1, 4)))
    return _finished(picture, size)


def empty_place(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """One of the world's own backgrounds with nothing on it."""
    return _finished(paint_background(str(rng.choice(BACKGROUNDS)), rng, 2 * size), size)


def shapes(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """One to four shapes the world has no name for, on a plain ground or one of the world's backgrounds."""
    picture = _ground(rng, size)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.choice((1, 1, 1, 2, 3, 4)))):
        name = str(rng.choice(tuple(OUTLINES)))
        middle, reach = rng.uniform(0.2, 0.8, 2) * 2 * size, rng.uniform(0.12, 0.4) * 2 * size
        points = OUTLINES[name](rng)
        _fill(draw, rng, points * reach, middle)
        if name == "ring":
            _fill(draw, rng, points * reach * rng.uniform(0.4, 0.75), middle)
    return _finished(picture, size, rng if rng.random() < 0.2 else None)


def assembly(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """A drawing in the manner of the world, outlined and flat, of a thing that is none: parts at random."""
    picture = _ground(rng, size)
    draw = ImageDraw.Draw(picture)
    middle, reach = rng.uniform(0.3, 0.7, 2) * 2 * size, rng.uniform(0.12, 0.34) * 2 * size
    for _ in range(int(rng.integers(3, 10))):
        outline = OUTLINES[str(rng.choice(("round", "polygon", "bar", "blob", "star", "half")))]
        at = middle + rng.normal(0, 0.38, 2) * reach
        _fill(draw, rng, outline(rng) * reach * rng.uniform(0.2, 0.85), at)
    return _finished(picture, size, rng if rng.random() < 0.2 else None)


KINDS = {
    "photo": (photo, 0.3), "texture": (texture_close_up, 0.1), "noise": (noise, 0.08), "gradient": (gradient, 0.05),
    "plain": (plain, 0.03), "pattern": (pattern, 0.07), "dots": (dots, 0.03), "writing": (writing, 0.08),
    "screen": (screen, 0.03), "empty_place": (empty_place, 0.04), "shapes": (shapes, 0.1), "assembly": (assembly, 0.09),
}  # fmt: skip
"""Maker and share of each kind of image."""


def _fill(draw: ImageDraw.ImageDraw, rng: np.random.Generator, points: np.ndarray, middle: np.ndarray) -> None:
    corners = [tuple(point) for point in points + middle]
    outline = (36, 30, 42) if rng.random() < 0.7 else None
    draw.polygon(corners, fill=_any_colour(rng), outline=outline, width=int(rng.integers(2, 6)))


def _strokes(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int, ink: tuple) -> None:
    """One to five smooth pen strokes, thick or thin."""
    width = int(rng.integers(3, 30))
    time = np.linspace(0, 1, 40)
    for _ in range(int(rng.integers(1, 6))):
        knots = rng.uniform(0.15, 0.85, (int(rng.integers(3, 7)), 2)) * 2 * size
        places = np.linspace(0, 1, len(knots))
        path = np.stack([np.interp(time, places, axis) for axis in knots.T], 1)
        kernel = np.ones(9) / 9
        smooth = np.stack([np.convolve(np.pad(axis, 4, mode="edge"), kernel, "valid") for axis in path.T], 1)
        draw.line([tuple(point) for point in smooth], fill=ink, width=width, joint="curve")


def _ground(rng: np.random.Generator, size: int) -> Image.Image:
    if rng.random() < 0.5:
        return paint_background(str(rng.choice(BACKGROUNDS)), rng, 2 * size)
    grey = rng.random() < 0.5
    colour = ((0, 0, 0), (255, 255, 255))[int(rng.integers(2))] if grey else _any_colour(rng)
    return _canvas(colour, size)[0]


def _canvas(colour: Colour, size: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A canvas at twice the size, so that edges come out smooth."""
    picture = Image.new("RGB", (2 * size, 2 * size), colour)
    return picture, ImageDraw.Draw(picture)


def _finished(picture: Image.Image, size: int, compression: np.random.Generator | None = None) -> np.ndarray:
    pixels = np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BOX))
    return pixels if compression is None else compressed(pixels, compression)


def _any_colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return red, green, blue


def _paper_and_ink(rng: np.random.Generator) -> tuple[Colour, Colour]:
    light = _any_colour(rng, 200) if rng.random() < 0.5 else (255, 255, 255)
    dark = _any_colour(rng, high=110) if rng.random() < 0.5 else (0, 0, 0)
    return (light, dark) if rng.random() < 0.6 else (dark, light)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


# Outlines that no thing of the world has: closed polygons (N, 2) about the origin, within [-1, 1].


def _polar(radii: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii) + rng.uniform(0, 2 * np.pi)
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]


def _spun(points: np.ndarray, angle: float) -> np.ndarray:
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _star(rng: np.random.Generator) -> np.ndarray:
    spikes, inner = int(rng.integers(4, 10)), rng.uniform(0.3, 0.7)
    return _polar(np.where(np.arange(2 * spikes) % 2, inner, 1.0), rng)


def _cross(rng: np.random.Generator) -> np.ndarray:
    arm = rng.uniform(0.15, 0.45)
    corner = np.array([[arm, 1], [arm, arm], [1, arm]])
    quarters = [_spun(corner, -np.pi / 2 * quarter) for quarter in range(4)]
    return _spun(np.concatenate(quarters), rng.choice((0, rng.uniform(0, 1.6))))


def _heart(rng: np.random.Generator) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _spun(np.stack([16 * np.sin(t) ** 3, -y], 1) / 17, rng.normal(0, 0.3))


def _arrow(rng: np.random.Generator) -> np.ndarray:
    wide = rng.uniform(0.1, 0.35)
    points = [(-1, -wide), (0.2, -wide), (0.2, -0.7), (1, 0), (0.2, 0.7), (0.2, wide), (-1, wide)]
    return _spun(np.array(points), rng.uniform(0, 6.3))


def _moon(rng: np.random.Generator) -> np.ndarray:
    t = np.linspace(-2, 2, 24)
    outer = np.stack([np.cos(t), np.sin(t)], 1)
    inner = np.stack([np.cos(t) * rng.uniform(0.2, 0.5) + 0.1, np.sin(t)], 1)[::-1]
    return _spun(np.concatenate([outer, inner]), rng.uniform(0, 6.3))


def _blob(rng: np.random.Generator) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return _polar(np.exp(sum(rng.normal(0, 0.2 / k) * np.cos(k * t + rng.uniform(0, 6.3)) for k in range(1, 7))), rng)


def _polygon(rng: np.random.Generator) -> np.ndarray:
    return _polar(np.ones(int(rng.integers(3, 9))), rng)


def _bar(rng: np.random.Generator) -> np.ndarray:
    wide = rng.uniform(0.06, 0.9)
    return _spun(np.array([(-1, -wide), (1, -wide), (1, wide), (-1, wide)]), rng.choice((0, 1.57, rng.uniform(0, 6.3))))


def _round(rng: np.random.Generator) -> np.ndarray:
    return _polar(np.ones(40), rng) * (1, rng.choice((1, rng.uniform(0.3, 1))))


def _half(rng: np.random.Generator) -> np.ndarray:
    t = np.linspace(0, np.pi, 24)
    return _spun(np.stack([np.cos(t), np.sin(t)], 1), rng.uniform(0, 6.3))


OUTLINES = {
    "star": _star, "cross": _cross, "heart": _heart, "arrow": _arrow, "moon": _moon, "blob": _blob,
    "polygon": _polygon, "bar": _bar, "round": _round, "half": _half, "ring": _round,
}  # fmt: skip
