"""Images and videos of scenes: where a thing stands, how it moves, and its drawing on one of four backgrounds.

A background is a soft sky, a ground with a wavy edge, and a few decorations placed by the scene's jitter. Their hues
keep away from the eight colours of things: pale and greyish by day, dark navy at night.

Lengths are fractions of the frame, whose centre is (0.5, 0.5); y points down.
"""

import colorsys
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from data.toybox.drawing.shapes import layers_of
from data.toybox.world import PLACES, THINGS, Scene

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


COLOUR_VALUES: dict[str, tuple[int, int, int]] = {
    "red": (222, 32, 38), "orange": (255, 138, 18), "yellow": (255, 220, 30), "green": (34, 160, 62),
    "blue": (36, 98, 230), "purple": (128, 52, 190), "pink": (255, 132, 192), "brown": (134, 82, 44),
}  # fmt: skip
FIXED_INKS = {
    "dark": (36, 30, 42), "white": (252, 252, 252), "cream": (255, 241, 208), "wood": (104, 72, 50),
    "metal": (112, 116, 128),
}  # fmt: skip

#: Half the extent of a thing, and how far from the centre the outer places are.
HALF_EXTENT = {"small": 19 / 128, "medium": 28 / 128, "large": 40 / 128}
PLACE_OFFSET = {"small": 40 / 128, "medium": 31 / 128, "large": 23 / 128}
#: Row positions and the scale of the copies, by count.
ROWS = {1: ((0.0,), 1.0), 2: ((-0.21, 0.21), 1.0), 3: ((-0.325, 0.0, 0.325), 0.86)}
SUPERSAMPLING = 2
_SHADES = ("body", "shade", "light")


@dataclass(frozen=True)
class Pose:
    """Where and how large a thing is drawn: centre, half extent, angle in degrees, mirrored or not."""

    x: float
    y: float
    half: float
    angle: float
    mirrored: bool


@dataclass(frozen=True)
class _Details:
    """What no caption names, drawn from the scene's jitter in a fixed order."""

    shift: np.ndarray
    scale: float
    angle: float
    mirrored: bool
    hue: float
    value: float
    brightness: float
    clockwise: bool
    wobble: np.ndarray


def render_image(scene: Scene, size: int = 128) -> np.ndarray:
    """The image of ``scene``: uint8 (size, size, 3), RGB."""
    details, rng = _details(scene)
    image = paint_background(scene.background, rng, SUPERSAMPLING * size)
    _draw_layers(image, scene.thing, _row(scene, details), _inks(scene.colour, details))
    return _finish(image, details)


def render_video(scene: Scene, frames: int = 8, size: int = 128) -> np.ndarray:
    """The video of ``scene``, one medium-sized thing in motion: uint8 (frames, size, size, 3), RGB."""
    if frames < 2:
        raise ValueError(f"frames is {frames}: motion needs at least 2")
    details, rng = _details(scene)
    background, inks = paint_background(scene.background, rng, SUPERSAMPLING * size), _inks(scene.colour, details)
    clip = []
    for frame in range(frames):
        image = background.copy()
        _draw_layers(image, scene.thing, [_moved(scene.motion, details, frame / (frames - 1))], inks)
        clip.append(_finish(image, details))
    return np.stack(clip)


def thing_mask(scene: Scene, size: int = 128, frame: int | None = None, frames: int = 8) -> np.ndarray:
    """How much of each pixel things cover, in the image or in a frame of the video: float32 (size, size) in [0, 1]."""
    details, _ = _details(scene)
    poses = _row(scene, details) if frame is None else [_moved(scene.motion, details, frame / (frames - 1))]
    mask = Image.new("L", (SUPERSAMPLING * size, SUPERSAMPLING * size))
    _draw_layers(mask, scene.thing, poses, dict.fromkeys((*FIXED_INKS, *_SHADES), 255))
    return np.asarray(mask.reduce(SUPERSAMPLING), np.float32) / 255


def _details(scene: Scene) -> tuple[_Details, np.random.Generator]:
    rng = np.random.default_rng((scene.jitter, 0xD2A3))
    even = rng.uniform(-1, 1, 14)
    flags = rng.random(2) < 0.5
    details = _Details(
        shift=even[:2] * (3 / 128),
        scale=1 + 0.06 * even[2],
        angle=6 * even[3],
        mirrored=bool(flags[0]),
        hue=0.01 * even[4],
        value=1 + 0.04 * even[5],
        brightness=1 + 0.04 * even[6],
        clockwise=bool(flags[1]),
        wobble=even[8:14].reshape(3, 2),
    )
    return details, rng


def _row(scene: Scene, details: _Details) -> list[Pose]:
    """The poses of all copies in an image."""
    places, shrink = ROWS[scene.count]
    half = HALF_EXTENT[scene.size] * details.scale * shrink
    if scene.count > 1:
        wobble = details.wobble * (0.006, 0.02)
        return [
            Pose(0.5 + x + wobble[i, 0], 0.5 + details.shift[1] + wobble[i, 1], half, details.angle, details.mirrored)
            for i, x in enumerate(places)
        ]
    row, column = divmod(PLACES.index(scene.place), 3)
    offset = PLACE_OFFSET[scene.size]
    x, y = 0.5 + (column - 1) * offset + details.shift[0], 0.5 + (row - 1) * offset + details.shift[1]
    return [_inside(Pose(x, y, half, details.angle, details.mirrored))]


def _moved(motion: str, details: _Details, time: float) -> Pose:
    """The pose at ``time`` in [0, 1] of a clip."""
    x, y = 0.5 + details.shift
    still = Pose(x, y, HALF_EXTENT["medium"] * details.scale, details.angle, details.mirrored)
    away = 0.28 * (2 * time - 1)
    if motion in ("left", "right"):
        return _inside(replace(still, x=0.5 + (away if motion == "right" else -away), mirrored=motion == "left"))
    if motion in ("up", "down"):
        return _inside(replace(still, y=0.5 + (away if motion == "down" else -away)))
    if motion == "spin":
        return replace(still, x=0.5, y=0.5, angle=details.angle + (300 if details.clockwise else -300) * time)
    if motion == "grow":
        return _inside(replace(still, half=still.half * (0.5 + time)))
    if motion == "bounce":
        return _inside(replace(still, y=0.76 - 0.5 * abs(np.sin(2 * np.pi * time))))
    raise ValueError(f"unknown motion {motion!r}: expected left, right, up, down, spin, grow or bounce")


def _inside(pose: Pose) -> Pose:
    """The pose moved so that the thing stays in the frame."""
    margin = 1.075 * pose.half + 0.004
    return replace(pose, x=float(np.clip(pose.x, margin, 1 - margin)), y=float(np.clip(pose.y, margin, 1 - margin)))


@lru_cache(maxsize=len(THINGS))
def _outline_of(thing: str) -> tuple[np.ndarray, list[tuple[int, int, str]]]:
    """All points of a thing (N, 2), scaled to the unit square, and the slice and ink of each layer."""
    layers = layers_of(thing)
    points = np.concatenate([layer.points for layer in layers])
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - (low + high) / 2) * (2 / (high - low).max())
    ends = np.cumsum([len(layer.points) for layer in layers]).tolist()
    return points, [(end - len(layer.points), end, layer.ink) for end, layer in zip(ends, layers, strict=True)]


def _draw_layers(image: Image.Image, thing: str, poses: list[Pose], inks: dict) -> None:
    points, layers = _outline_of(thing)
    draw = ImageDraw.Draw(image)
    for pose in poses:
        angle = np.deg2rad(pose.angle)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        mirror = (-1.0, 1.0) if pose.mirrored else (1.0, 1.0)
        corners = ((points * mirror) @ turn * pose.half + (pose.x, pose.y)) * image.width  # (N, 2)
        flat = corners.ravel().tolist()
        for start, end, ink in layers:
            draw.polygon(flat[2 * start : 2 * end], fill=inks[ink])


def _inks(colour: str, details: _Details) -> dict[str, tuple[int, int, int]]:
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in COLOUR_VALUES[colour]))
    body = np.array(colorsys.hsv_to_rgb((hue + details.hue) % 1, saturation, min(value * details.value, 1.0))) * 255
    shades = (body, 0.76 * body, 0.66 * body + 0.34 * 255)
    return FIXED_INKS | {n: (int(i[0]), int(i[1]), int(i[2])) for n, i in zip(_SHADES, shades, strict=True)}


def _finish(image: Image.Image, details: _Details) -> np.ndarray:
    table = np.clip(np.rint(np.arange(256) * details.brightness), 0, 255).astype(int).tolist() * 3
    return np.array(image.reduce(SUPERSAMPLING).point(table))
