"""Images and videos of scenes: where a thing stands, how it moves, and its drawing on a background.

Lengths are fractions of the frame, whose centre is (0.5, 0.5); y points down.
"""

import colorsys
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from data.toybox.drawing.backgrounds import paint_background
from data.toybox.drawing.shapes import layers_of
from data.toybox.world import PLACES, THINGS, Scene

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
