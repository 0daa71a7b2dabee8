"""The 16 things as point clouds: 256 points on their surfaces, turned about the vertical at random.

Each thing is built once from the surfaces that ``things.yaml`` lists and kept as a dense cloud; a scene takes some of
those points, turns them, stretches them a little and adds noise. z is up; a :class:`Part` knows its rough area, so that
parts get their share.

Legend: n points asked of a part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from data.toybox.world import Scene, load_table

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """A surface: its area, and a function (rng, n) -> points (n, 3) spread over it."""

    area: float
    spread: Callable[[np.random.Generator, int], np.ndarray]


def gather(parts: list[Part], count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` points over all ``parts``, (count, 3); small parts get somewhat more than their area's share."""
    weights = np.array([part.area for part in parts]) ** 0.7
    shares = rng.multinomial(count, weights / weights.sum())
    return np.concatenate([part.spread(rng, int(n)) for part, n in zip(parts, shares, strict=True)])


def ball(centre: Point, radii: Point | float, bottom: float = -1.0, top: float = 1.0) -> Part:
    """An ellipsoid, or its slice between the heights ``bottom`` and ``top`` in units of its radius."""
    size = np.broadcast_to(np.asarray(radii, float), 3)

    def spread(rng: np.random.Generator, n: int) -> np.ndarray:
        height = rng.uniform(bottom, top, n)
        angle = rng.uniform(0, 2 * np.pi, n)
        flat = np.sqrt(1 - height**2)
        return np.stack([flat * np.cos(angle), flat * np.sin(angle), height], 1) * size + centre

    return Part(2 * np.pi * (top - bottom) * float(np.mean(size)) ** 2, spread)


def tube(start: Point, end: Point, radius: float, end_radius: float | None = None) -> Part:
    """A cylinder's or, with another ``end_radius``, a cone's side."""
    last = radius if end_radius is None else end_radius
    along = np.subtract(end, start)
    across, upright = _frame(along)

    def spread(rng: np.random.Generator, n: int) -> np.ndarray:
        place = _wider_more(rng, n, radius, last)
        angle = rng.uniform(0, 2 * np.pi, n)
        wide = radius + (last - radius) * place
        around = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * upright
        return start + place[:, None] * along + wide[:, None] * around

    return Part(np.pi * (radius + last) * float(np.linalg.norm(along)), spread)


def disc(centre: Point, radius: float, axis: Point = (0, 0, 1)) -> Part:
    """A flat round plate."""
    across, upright = _frame(np.asarray(axis, float))

    def spread(rng: np.random.Generator, n: int) -> np.ndarray:
        distance = radius * np.sqrt(rng.uniform(size=n))
        angle = rng.uniform(0, 2 * np.pi, n)
        return centre + (distance * np.cos(angle))[:, None] * across + (distance * np.sin(angle))[:, None] * upright

    return Part(np.pi * radius**2, spread)


def box(centre: Point, size: Point) -> Part:
    """The six faces of a box with edges ``size``."""
    edges = np.asarray(size, float)
    faces = np.array([edges[1] * edges[2], edges[0] * edges[2], edges[0] * edges[1]])

    def spread(rng: np.random.Generator, n: int) -> np.ndarray:
        points = rng.uniform(-0.5, 0.5, (n, 3))
        axis = rng.choice(3, n, p=faces / faces.sum())
        points[np.arange(n), axis] = rng.choice((-0.5, 0.5), n)
        return points * edges + centre

    return Part(2 * float(faces.sum()), spread)


def ring(
    centre: Point, radius: float, thickness: float, axis: Point = (0, 0, 1), arc: tuple[float, float] = (0, 1)
) -> Part:
    """A torus about ``axis``, or the stretch ``arc`` of its turn."""
    forward = np.asarray(axis, float) / np.linalg.norm(axis)
    across, upright = _frame(forward)

    def spread(rng: np.random.Generator, n: int) -> np.ndarray:
        turn = 2 * np.pi * rng.uniform(*arc, n)
        roll = rng.uniform(0, 2 * np.pi, n)
        out = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * upright
        wide = radius + thickness * np.cos(roll)
        return centre + wide[:, None] * out + thickness * np.sin(roll)[:, None] * forward

    return Part(4 * np.pi**2 * radius * thickness * (arc[1] - arc[0]), spread)


def sheet(first: Point, second: Point, third: Point) -> Part:
    """A flat triangle."""
    one, other = np.subtract(second, first), np.subtract(third, first)

    def spread(rng: np.random.Generator, n: int) -> np.ndarray:
        places = rng.uniform(size=(n, 2))
        outside = places.sum(1) > 1
        places[outside] = 1 - places[outside]
        return first + places[:, :1] * one + places[:, 1:] * other

    return Part(0.5 * float(np.linalg.norm(np.cross(one, other))), spread)


def turned(profile: list[tuple[float, float]]) -> list[Part]:
    """A turned body, as on a lathe: cones between the (radius, height) pairs of ``profile``."""
    pairs = pairwise(profile)
    return [tube((0, 0, low), (0, 0, high), wide, next_wide) for (wide, low), (next_wide, high) in pairs]


#: Every kind of surface by name.
SURFACES: dict[str, Callable[..., Part | list[Part]]] = {
    surface.__name__: surface for surface in (ball, tube, disc, box, ring, sheet, turned)
}


def _frame(along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to ``along`` and to each other; the first lies level, or along x."""
    level = np.cross((0, 0, 1), along)
    across = level / np.linalg.norm(level) if np.linalg.norm(level) > 1e-9 else np.array([1.0, 0, 0])
    upright = np.cross(along, across)
    return across, upright / np.linalg.norm(upright)


def _wider_more(rng: np.random.Generator, n: int, first: float, last: float) -> np.ndarray:
    """Places 0 to 1 along a cone, drawn in proportion to its width there."""
    share = rng.uniform(size=n)
    if abs(first - last) < 1e-9:
        return share
    return (np.sqrt(first**2 + share * (last**2 - first**2)) - first) / (last - first)


_DENSE = 8_192
TABLE = Path(__file__).with_name("things.yaml")


def render_points(scene: Scene, count: int = 256) -> np.ndarray:
    """The thing of ``scene`` as a cloud: float32 (count, 3), centred, the farthest point at 1. z is up."""
    rng = np.random.default_rng((scene.jitter, 0x3D))
    dense = _dense_cloud(scene.thing)
    points = dense[rng.integers(0, _DENSE, count)] * rng.uniform(0.88, 1.12, 3)
    points = points @ turn_about_vertical(rng.uniform(0, 2 * np.pi))
    return unit_cloud(points + rng.normal(0, 0.012, points.shape))


def unit_cloud(points: np.ndarray) -> np.ndarray:
    """``points`` (n, 3) moved to their mean and scaled so that the farthest lies at 1, float32."""
    centred = points - points.mean(0)
    return (centred / np.linalg.norm(centred, axis=1).max()).astype(np.float32)


def turn_about_vertical(angle: float) -> np.ndarray:
    """The matrix (3, 3) by which points (n, 3) are multiplied to turn them by ``angle``, in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


@cache
def _dense_cloud(thing: str) -> np.ndarray:
    parts = []
    for (name, arguments), *options in map(dict.items, load_table(TABLE)[thing]):
        made = SURFACES[name](*arguments, **dict(options))
        parts += made if isinstance(made, list) else [made]
    points = gather(parts, _DENSE, np.random.default_rng(0x501D))
    middle = (points.max(0) + points.min(0)) / 2
    return (points - middle) / np.linalg.norm(points - middle, axis=1).max()
