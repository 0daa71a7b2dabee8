"""The point clouds of the world: form, determinism, and that the 16 shapes are told apart by simple statistics."""

import numpy as np
import pytest

from data.toybox.points.render import TABLE, ball, box, disc, gather, render_points, ring, sheet, tube
from data.toybox.world import THINGS, load_table, sample


def sketch(points: np.ndarray) -> np.ndarray:
    """What stays when a cloud turns about the vertical: histograms of height and of distance from the axis."""
    height = points[:, 2]
    middle = (points[:, :2].max(0) + points[:, :2].min(0)) / 2
    distance = np.linalg.norm(points[:, :2] - middle, axis=1)
    counts = np.histogram2d(height, distance, bins=(12, 8), range=((-1, 1), (0, 1.1)))[0]
    return np.sqrt(counts / len(points)).ravel()


def test_every_thing_has_a_shape():
    assert set(load_table(TABLE)) == set(THINGS)


@pytest.mark.parametrize("thing", THINGS)
def test_form_and_determinism(thing):
    scene = sample(0, 1).with_(thing=thing)
    points = render_points(scene)
    assert points.shape == (256, 3)
    assert points.dtype == np.float32
    assert np.abs(points.mean(0)).max() < 1e-5
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(points, render_points(scene))
    assert not np.array_equal(points, render_points(scene.with_(jitter=scene.jitter + 1)))
    assert render_points(scene, count=64).shape == (64, 3)


def test_shapes_are_told_apart():
    known = {
        thing: [sketch(render_points(sample(1, index).with_(thing=thing))) for index in range(24)] for thing in THINGS
    }
    right = 0
    for thing in THINGS:
        for index in range(12):
            seen = sketch(render_points(sample(2, index).with_(thing=thing)))
            nearest = {name: min(np.linalg.norm(seen - other) for other in others) for name, others in known.items()}
            right += min(nearest, key=nearest.__getitem__) == thing
    assert right / (12 * len(THINGS)) > 0.97


@pytest.mark.parametrize(
    ("part", "residual"),
    [
        (ball((0, 0, 0), 2.0), lambda p: np.linalg.norm(p, axis=1) - 2),
        (tube((0, 0, 0), (0, 0, 3), 0.5), lambda p: np.hypot(p[:, 0], p[:, 1]) - 0.5),
        (tube((0, 0, 0), (0, 0, 1), 1.0, 0.0), lambda p: np.hypot(p[:, 0], p[:, 1]) - (1 - p[:, 2])),
        (disc((0, 0, 1), 2.0), lambda p: p[:, 2] - 1),
        (box((0, 0, 0), (2, 2, 2)), lambda p: np.abs(p).max(1) - 1),
        (ring((0, 0, 0), 2.0, 0.5), lambda p: np.hypot(np.hypot(p[:, 0], p[:, 1]) - 2, p[:, 2]) - 0.5),
        (sheet((0, 0, 0), (1, 0, 0), (0, 1, 0)), lambda p: np.abs(p[:, 2]) + np.maximum(p[:, 0] + p[:, 1] - 1, 0)),
    ],
)
def test_points_lie_on_their_surface(part, residual):
    points = gather([part], 500, np.random.default_rng(0))
    assert points.shape == (500, 3)
    assert np.abs(residual(points)).max() < 1e-9
