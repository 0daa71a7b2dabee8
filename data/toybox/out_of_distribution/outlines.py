"""Outlines that no thing of the world has: closed polygons (N, 2) about the origin, within [-1, 1]."""

from __future__ import annotations

import numpy as np


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
