"""The 16 things as point clouds: 256 points on their surfaces, turned about the vertical at random.

Each thing is built once from the surfaces that ``things.yaml`` lists and kept as a dense cloud; a scene takes some of
those points, turns them, stretches them a little and adds noise.
"""

from functools import cache
from pathlib import Path

import numpy as np

from data.toybox.points.solids import SURFACES, gather
from data.toybox.world import Scene, load_table

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
