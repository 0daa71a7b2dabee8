"""Point clouds from outside the world: noise, surfaces, curves, single solids, furniture and random assemblies.

Each maker takes a generator and returns float32 (256, 3), centred, the farthest point at 1.
"""

import numpy as np

from data.toybox.points.render import Part, ball, box, disc, gather, ring, sheet, tube, turn_about_vertical, unit_cloud

COUNT = 256


def fog(rng: np.random.Generator) -> np.ndarray:
    """One or several Gaussian, uniform or hollow clouds."""
    lumps = int(rng.choice((1, 1, 2, 3, 5)))
    at = rng.normal(0, rng.uniform(0.5, 3), (lumps, 3))[rng.integers(0, lumps, COUNT)]
    drawn = rng.normal(0, 1, (COUNT, 3)) if rng.random() < 0.6 else rng.uniform(-1, 1, (COUNT, 3))
    return _finished(drawn * rng.uniform(0.1, 1, 3) + (at if lumps > 1 else 0), rng, noise=0)


def surface(rng: np.random.Generator) -> np.ndarray:
    """A plane, a slope, hills, a saddle or waves."""
    flat = rng.uniform(-1, 1, (COUNT, 2))
    x, y = flat.T
    waves = sum(rng.normal(0, 0.3) * np.sin(rng.normal(0, 4) * x + rng.normal(0, 4) * y) for _ in range(3))
    curved = rng.normal(0, 0.4) * x**2 + rng.normal(0, 0.4) * y**2 + rng.normal(0, 0.4) * x * y
    height = (0 * x, waves, curved, waves + curved)[int(rng.integers(4))]
    return _finished(np.stack([x, y * rng.uniform(0.2, 1), height], 1), rng, tilt=True)


def curve(rng: np.random.Generator) -> np.ndarray:
    """A line in space: helix, knot, spiral or random walk, thin or thick."""
    t = np.linspace(0, 1, COUNT) * 2 * np.pi
    turns = rng.integers(1, 8)
    first, second = rng.choice((2, 3, 4, 5), 2, replace=False)
    paths = (
        np.stack([np.cos(turns * t), np.sin(turns * t), (t - np.pi) * rng.uniform(0.1, 0.8)], 1),
        np.stack([(2 + np.cos(second * t)) * np.cos(first * t), (2 + np.cos(second * t)) * np.sin(first * t),
                  np.sin(second * t)], 1),
        np.stack([t * np.cos(turns * t), t * np.sin(turns * t), rng.uniform(-2, 2) * t], 1),
        np.cumsum(rng.normal(0, 1, (COUNT, 3)) + rng.normal(0, 0.3, 3), 0),
    )  # fmt: skip
    return _finished(paths[int(rng.integers(4))], rng, noise=rng.choice((0.005, 0.03, 0.1)), tilt=True)


def solid(rng: np.random.Generator) -> np.ndarray:
    """One ball, box, cylinder, cone, ring or disc, of any proportions and any tilt."""
    return _finished(gather([_part(rng, (0, 0, 0), 1.0)], COUNT, rng), rng, tilt=True)


def assembly(rng: np.random.Generator) -> np.ndarray:
    """Two to eight solids put together at random."""
    parts = [_part(rng, tuple(rng.normal(0, 0.5, 3)), rng.uniform(0.15, 0.7)) for _ in range(int(rng.integers(2, 9)))]
    return _finished(gather(parts, COUNT, rng), rng, tilt=rng.random() < 0.5)


def furniture(rng: np.random.Generator) -> np.ndarray:
    """Chairs, tables, lamps, houses, trees, aeroplanes, bottles and stairs."""
    plan = _PLANS[int(rng.integers(len(_PLANS)))]
    return _finished(gather(plan(rng), COUNT, rng), rng)


def lattice(rng: np.random.Generator) -> np.ndarray:
    """Points on a grid, or in layers, or all in a few spots."""
    points = rng.integers(0, rng.integers(2, 8, 3), (COUNT, 3)).astype(float)
    if rng.random() < 0.4:
        points[:, 0] = rng.uniform(points[:, 0].min(), points[:, 0].max() + 1, COUNT)
    return _finished(points + np.eye(3)[rng.integers(0, 3, COUNT)] * 0.01, rng, tilt=rng.random() < 0.5)


KINDS = {
    "fog": (fog, 0.18), "surface": (surface, 0.12), "curve": (curve, 0.12), "solid": (solid, 0.16),
    "assembly": (assembly, 0.22), "furniture": (furniture, 0.14), "lattice": (lattice, 0.06),
}  # fmt: skip
"""Maker and share of each kind of cloud."""


def _finished(points: np.ndarray, rng: np.random.Generator, noise: float = 0.012, tilt: bool = False) -> np.ndarray:
    """``points`` turned about the vertical, or any way if ``tilt``, with noise in units of their extent."""
    extent = np.abs(points - points.mean(0)).max()
    turn = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0] if tilt else np.eye(3)
    about = turn_about_vertical(rng.uniform(0, 2 * np.pi))
    return unit_cloud(points @ turn @ about + rng.normal(0, max(noise, 1e-6) * extent, points.shape))


def _part(rng: np.random.Generator, at: tuple, reach: float) -> Part:
    kind = int(rng.integers(6))
    size = tuple(rng.uniform(0.25, 1, 3) * reach)
    if kind == 0:
        return ball(at, size)
    if kind == 1:
        return box(at, size)
    if kind == 2:
        return disc(at, reach, tuple(rng.normal(0, 1, 3)))
    if kind == 3:
        return ring(at, reach, reach * rng.uniform(0.05, 0.4), tuple(rng.normal(0, 1, 3)), (0, rng.choice((0.5, 1))))
    if kind == 4:
        return sheet(at, *(tuple(at + rng.normal(0, reach, 3)) for _ in range(2)))
    return tube(at, tuple(at + rng.normal(0, reach, 3)), reach * rng.uniform(0.1, 0.6), reach * rng.uniform(0.0, 0.6))


def _legs(wide: float, deep: float, top: float, thick: float) -> list[Part]:
    return [tube((x, y, 0), (x, y, top), thick) for x in (-wide, wide) for y in (-deep, deep)]


def _chair(rng: np.random.Generator) -> list[Part]:
    wide, deep, seat = rng.uniform(0.3, 0.5, 3)
    back = box((-wide, 0, seat + 0.35), (0.06, 2 * deep, rng.uniform(0.5, 0.8)))
    return [box((0, 0, seat), (2 * wide, 2 * deep, 0.08)), back, *_legs(wide, deep, seat, 0.04)]


def _table(rng: np.random.Generator) -> list[Part]:
    wide, deep = rng.uniform(0.4, 1.0, 2)
    return [box((0, 0, 0.7), (2.1 * wide, 2.1 * deep, 0.06)), *_legs(wide, deep, 0.7, 0.05)]


def _lamp(rng: np.random.Generator) -> list[Part]:
    shade = tube((0, 0, 1.0), (0, 0, 1.5), rng.uniform(0.4, 0.7), rng.uniform(0.1, 0.35))
    return [disc((0, 0, 0), rng.uniform(0.3, 0.5)), tube((0, 0, 0), (0, 0, 1.2), 0.04), shade]


def _house(rng: np.random.Generator) -> list[Part]:
    wide, deep, tall = rng.uniform(0.5, 1, 3)
    top = tall / 2 + rng.uniform(0.3, 0.7)
    slopes = []
    for side in (-1, 1):
        left, right = (-wide / 2, side * deep / 2, tall / 2), (wide / 2, side * deep / 2, tall / 2)
        slopes += [sheet(left, right, (-wide / 2, 0, top)), sheet(right, (-wide / 2, 0, top), (wide / 2, 0, top))]
    return [box((0, 0, 0), (wide, deep, tall)), *slopes]


def _tree(rng: np.random.Generator) -> list[Part]:
    trunk = tube((0, 0, 0), (0, 0, 0.6), 0.08)
    if rng.random() < 0.5:
        return [trunk, *(tube((0, 0, z), (0, 0, z + 0.5), 0.5 - 0.2 * z, 0.0) for z in (0.4, 0.7, 1.0))]
    return [trunk, *(ball(tuple(rng.normal((0, 0, 0.9), 0.18)), rng.uniform(0.2, 0.45)) for _ in range(4))]


def _aeroplane(rng: np.random.Generator) -> list[Part]:
    span, thick = rng.uniform(0.7, 1.1), rng.uniform(0.08, 0.15)
    wings = [sheet((0.25, 0, 0), (-0.15, 0, 0), (-0.2, side * span, 0)) for side in (-1, 1)]
    tail = [sheet((-0.75, 0, 0), (-1, 0, 0), (-1, 0, 0.4)), sheet((-0.8, 0, 0), (-1, 0.35, 0), (-1, -0.35, 0))]
    return [tube((-1, 0, 0), (0.8, 0, 0), thick), ball((0.8, 0, 0), thick), *wings, *tail]


def _bottle(rng: np.random.Generator) -> list[Part]:
    wide, neck, tall = rng.uniform(0.2, 0.4), rng.uniform(0.06, 0.12), rng.uniform(0.6, 1.2)
    shoulder = tube((0, 0, tall), (0, 0, tall + 0.2), wide, neck)
    return [tube((0, 0, 0), (0, 0, tall), wide), shoulder, tube((0, 0, tall + 0.2), (0, 0, tall + 0.5), neck)]


def _stairs(rng: np.random.Generator) -> list[Part]:
    steps, wide = int(rng.integers(3, 7)), rng.uniform(0.3, 0.8)
    return [box((0.25 * i, 0, 0.1 * (i + 1)), (0.25, wide, 0.2 * (i + 1))) for i in range(steps)]


_PLANS = (_chair, _table, _lamp, _house, _tree, _aeroplane, _bottle, _stairs)
