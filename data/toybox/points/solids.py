"""Surfaces to sample points from. z is up; a :class:`Part` knows its rough area, so that parts get their share.

Legend: n points asked of a part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

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
