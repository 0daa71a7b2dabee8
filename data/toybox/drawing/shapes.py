"""The drawing kit: everything is a closed polygon in unit coordinates, x to the right and y down, within [-1, 1].

Outlines and thick lines are worked out once, here, as polygons of their own. Drawing a thing is then one matrix
product and a few polygon fills, and outlines scale and turn together with the thing. ``things.yaml`` says what each
thing is made of: :func:`layers_of`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.toybox.world import load_table

OUTLINE = 0.075


@dataclass(frozen=True)
class Layer:
    """One filled polygon: ``points`` (N, 2) and the name of its ``ink``."""

    points: np.ndarray
    ink: str


def layers_of(thing: str) -> list[Layer]:
    """The layers of ``thing`` in ``things.yaml``, from back to front."""
    entries = load_table(Path(__file__).with_name("things.yaml"))[thing]
    return [layer for entry in entries for layer in _layers(entry)]


def polygon(*corners: tuple[float, float], at: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Straight sides through ``corners``, moved by ``at``."""
    return np.array(corners, dtype=np.float64) + np.array(at)


def ellipse(x: float, y: float, width: float, height: float, turn: float = 0.0, steps: int = 28) -> np.ndarray:
    """An ellipse with half axes ``width`` and ``height``, turned by ``turn`` degrees."""
    angle = np.arange(steps) * (2 * np.pi / steps)
    across, along = width * np.cos(angle), height * np.sin(angle)
    cosine, sine = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    return np.stack([x + cosine * across - sine * along, y + sine * across + cosine * along], axis=1)


def box(x: float, y: float, width: float, height: float, corner: float = 0.08) -> np.ndarray:
    """A rectangle of half sizes ``width`` and ``height`` with rounded corners."""
    turns = np.linspace(0, np.pi / 2, 5)
    parts = []
    for quarter, (side_x, side_y) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angle = turns + quarter * np.pi / 2
        centre = np.array([x + side_x * (width - corner), y + side_y * (height - corner)])
        parts.append(centre + corner * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return np.concatenate(parts)


def curve(*through: tuple[float, float], closed: bool = False, steps: int = 5) -> np.ndarray:
    """A Catmull-Rom spline through the points given."""
    knots = np.array(through, dtype=np.float64)
    padded = (
        np.concatenate([knots[-1:], knots, knots[:2]]) if closed else np.concatenate([knots[:1], knots, knots[-1:]])
    )
    t = np.arange(steps)[:, None] / steps
    pieces = [_spline_piece(padded[i : i + 4], t) for i in range(len(padded) - 3)]
    return np.concatenate(pieces if closed else [*pieces, knots[-1:]])


def blob(*through: tuple[float, float]) -> np.ndarray:
    """A smooth closed shape through the points given."""
    return curve(*through, closed=True)


def arc(
    x: float, y: float, radius: float, start: float, end: float, steps: int = 14, width: float | None = None
) -> np.ndarray:
    """Points on a circle from ``start`` to ``end`` degrees, clockwise on screen from the right-hand side.

    With a ``width`` it is a thick line along them.
    """
    angle = np.deg2rad(np.linspace(start, end, steps))
    points = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    return points if width is None else ribbon(points, width)


def path(*pieces: dict[str, Any]) -> np.ndarray:
    """A closed shape along several others, one after another."""
    return np.concatenate([shape for piece in pieces for shape in _shapes(piece)])


def ribbon(path: np.ndarray, width: float) -> np.ndarray:
    """A line of ``width`` along the open ``path`` (N, 2), with round ends."""
    direction = np.gradient(path, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * (width / 2)
    return np.concatenate([path + normal, _cap(path[-1], normal[-1]), (path - normal)[::-1], _cap(path[0], -normal[0])])


def line(*through: tuple[float, float], width: float = 0.1) -> np.ndarray:
    """A thick line: straight through two points, smooth through more."""
    return ribbon(polygon(*through) if len(through) == 2 else curve(*through), width)


def ray(x: float, y: float, inner: float, outer: float, angle: float, width: float) -> np.ndarray:
    """A thick line away from (x, y), between two distances from it, at ``angle`` degrees."""
    right, down = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return line(*((distance * right + x, distance * down + y) for distance in (inner, outer)), width=width)


def dots(x: float, y: float, reach: float, radius: float, count: int) -> list[np.ndarray]:
    """``count`` dots of ``radius`` in a circle of radius ``reach``."""
    angles = np.arange(count) * (2 * np.pi) / count
    return [ellipse(reach * np.cos(a) + x, reach * np.sin(a) + y, radius, radius, steps=8) for a in angles]


SHAPES: dict[str, Callable[..., np.ndarray | list[np.ndarray]]] = {
    shape.__name__: shape for shape in (polygon, ellipse, box, curve, blob, arc, path, line, ray, dots)
}


def _shapes(entry: dict[str, Any]) -> list[np.ndarray]:
    """The shapes of one entry, ``{name: arguments, **options}``."""
    (name, arguments), *options = entry.items()
    made = SHAPES[name](*arguments, **dict(options))
    return made if isinstance(made, list) else [made]


def _layers(entry: dict[str, Any]) -> list[Layer]:
    """One entry's shapes, plain, or melted into one with a single dark outline around them; or an eye or a wheel."""
    if "eye" in entry:
        x, y, radius = entry["eye"]
        pupil = ellipse(x + 0.25 * radius, y, 0.6 * radius, 0.6 * radius, steps=10)
        return [Layer(ellipse(x, y, radius, radius, steps=14), "white"), Layer(pupil, "dark")]
    if "wheel" in entry:
        x, y, radius = entry["wheel"]
        hub = ellipse(x, y, 0.5 * radius, 0.5 * radius, steps=14)
        return [Layer(ellipse(x, y, radius, radius, steps=20), "dark"), Layer(hub, "cream")]
    shapes = [shape for each in entry["shapes"] for shape in _shapes(each)]
    if "plain" in entry:
        return [Layer(shape, entry["plain"]) for shape in shapes]
    outlines = [Layer(_grown(shape, entry.get("width", OUTLINE)), "dark") for shape in shapes]
    return outlines + [Layer(shape, entry["outlined"]) for shape in shapes]


def _spline_piece(four: np.ndarray, t: np.ndarray) -> np.ndarray:
    before, start, end, after = four
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )


def _cap(end: np.ndarray, normal: np.ndarray) -> np.ndarray:
    angle = -np.linspace(0, np.pi, 6)[1:-1, None]
    turned = np.array([-normal[1], normal[0]])
    return end + np.cos(angle) * normal + np.sin(angle) * turned


def _grown(points: np.ndarray, by: float) -> np.ndarray:
    """The polygon moved outwards by ``by`` along its mitred vertex normals."""
    edge = np.roll(points, -1, axis=0) - points
    kept = np.linalg.norm(edge, axis=1) > 1e-9
    points, edge = points[kept], np.roll(points[kept], -1, axis=0) - points[kept]
    normal = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.linalg.norm(edge, axis=1, keepdims=True)
    if np.sum(points[:, 0] * np.roll(points[:, 1], -1) - points[:, 1] * np.roll(points[:, 0], -1)) < 0:
        normal = -normal
    total = normal + np.roll(normal, 1, axis=0)
    # A mitre is 2 n / |n|^2 long; the floor keeps the tips of sharp corners short.
    return points + by * 2 * total / np.maximum(np.sum(total**2, axis=1, keepdims=True), 1.2)
