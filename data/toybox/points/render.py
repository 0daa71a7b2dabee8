"""The 16 things as point clouds: 256 points on their surfaces, turned about the vertical at random.

Each thing is built once from the parts of :mod:`data.toybox.points.solids` and kept as a dense cloud; a scene takes
some of those points, turns them, stretches them a little and adds noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from data.toybox.points.solids import Part, ball, box, disc, gather, ring, sheet, tube, turned
from data.toybox.world import Scene

_DENSE = 8_192


def render_points(scene: Scene, count: int = 256) -> np.ndarray:
    """The thing of ``scene`` as a cloud: float32 (count, 3), centred, the farthest point at 1. z is up."""
    rng = np.random.default_rng((scene.jitter, 0x3D))
    dense = _dense_cloud(scene.thing)
    points = dense[rng.integers(0, _DENSE, count)] * rng.uniform(0.88, 1.12, 3)
    points = points @ _turn(rng.uniform(0, 2 * np.pi))
    return unit_cloud(points + rng.normal(0, 0.012, points.shape))


def unit_cloud(points: np.ndarray) -> np.ndarray:
    """``points`` (n, 3) moved to their mean and scaled so that the farthest lies at 1, float32."""
    centred = points - points.mean(0)
    return (centred / np.linalg.norm(centred, axis=1).max()).astype(np.float32)


def _turn(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


@cache
def _dense_cloud(thing: str) -> np.ndarray:
    points = gather(SHAPES[thing](), _DENSE, np.random.default_rng(0x501D))
    middle = (points.max(0) + points.min(0)) / 2
    return (points - middle) / np.linalg.norm(points - middle, axis=1).max()


def bell() -> list[Part]:
    body = turned([(0.85, -0.6), (0.62, -0.45), (0.48, 0.0), (0.4, 0.35), (0.22, 0.55), (0.0, 0.6)])
    return [*body, ring((0, 0, 0.72), 0.13, 0.035, axis=(0, 1, 0)), ball((0, 0, -0.68), 0.16)]


def drum() -> list[Part]:
    sticks = [tube((-0.5, 0.3, 0.5), (0.75, -0.1, 0.8), 0.03), tube((-0.5, -0.3, 0.5), (0.75, 0.1, 0.8), 0.03)]
    rims = [ring((0, 0, height), 0.75, 0.05) for height in (-0.4, 0.4)]
    return [tube((0, 0, -0.4), (0, 0, 0.4), 0.7), disc((0, 0, 0.4), 0.7), *rims, *sticks]


def bird() -> list[Part]:
    wings = [sheet((0.25, 0, 0.05), (-0.3, 0, 0.05), (-0.15, side * 1.0, 0.35)) for side in (-1, 1)]
    head = [ball((0.5, 0, 0.25), 0.17), tube((0.64, 0, 0.25), (0.88, 0, 0.2), 0.07, 0.0)]
    tail = sheet((-0.4, 0, 0.0), (-0.9, 0.25, 0.05), (-0.9, -0.25, 0.05))
    return [ball((0, 0, 0), (0.5, 0.2, 0.2)), *wings, *head, tail]


def car() -> list[Part]:
    wheels = []
    for x in (-0.55, 0.55):
        for y in (-0.42, 0.42):
            wheels += [tube((x, y - 0.06, -0.25), (x, y + 0.06, -0.25), 0.2), disc((x, y, -0.25), 0.2, (0, 1, 0))]
    return [box((0, 0, -0.05), (1.9, 0.8, 0.3)), box((-0.1, 0, 0.27), (0.95, 0.7, 0.36)), *wheels]


def clock() -> list[Part]:
    """An alarm clock: face to the front, two hands, two small feet."""
    case = [
        tube((0, -0.1, 0), (0, 0.1, 0), 0.75),
        disc((0, 0.1, 0), 0.75, (0, 1, 0)),
        disc((0, -0.1, 0), 0.75, (0, 1, 0)),
    ]
    hands = [tube((0, -0.16, 0), (0, -0.16, 0.55), 0.03), tube((0, -0.16, 0), (0.36, -0.16, 0), 0.03)]
    feet = [tube((side * 0.45, 0, -0.6), (side * 0.62, 0, -0.92), 0.06) for side in (-1, 1)]
    return [*case, ring((0, -0.12, 0), 0.75, 0.06, (0, 1, 0)), *hands, *feet]


def rain() -> list[Part]:
    """A cloud of puffs with streaks falling out of it."""
    puffs = [
        ball((x, y, z), r) for x, y, z, r in ((-0.45, 0, 0.5, 0.28), (0, 0.1, 0.6, 0.36), (0.45, -0.05, 0.5, 0.27))
    ]
    falls = ((-0.55, 0.1), (-0.3, -0.15), (-0.05, 0.15), (0.15, -0.1), (0.38, 0.12), (0.6, -0.08))
    return [*puffs, *(tube((x, y, 0.1 - 0.1 * (i % 2)), (x, y, -0.75), 0.02) for i, (x, y) in enumerate(falls))]


def dog() -> list[Part]:
    """Standing on four legs, muzzle forward, tail up."""
    legs = [tube((x, y, -0.15), (x, y, -0.7), 0.09) for x in (-0.45, 0.4) for y in (-0.17, 0.17)]
    head = [box((0.7, 0, 0.4), (0.34, 0.32, 0.34)), box((0.97, 0, 0.32), (0.26, 0.18, 0.16))]
    ears = [sheet((0.6, y, 0.55), (0.75, y, 0.55), (0.62, y * 1.3, 0.22)) for y in (-0.19, 0.19)]
    return [tube((-0.6, 0, 0), (0.55, 0, 0.05), 0.25), *legs, *head, *ears, tube((-0.6, 0, 0.1), (-0.85, 0, 0.6), 0.05)]


def cat() -> list[Part]:
    """Sitting upright, two pointed ears, the tail curled about its feet."""
    ears = [tube((0.1, y, 0.62), (0.1, y * 1.2, 0.92), 0.11, 0.0) for y in (-0.17, 0.17)]
    paws = [tube((0.28, y, -0.1), (0.36, y, -0.75), 0.07) for y in (-0.13, 0.13)]
    tail = ring((0, 0, -0.72), 0.55, 0.05, arc=(0.3, 0.85))
    return [tube((-0.1, 0, -0.75), (0.05, 0, 0.25), 0.42, 0.2), ball((0.1, 0, 0.45), 0.27), *ears, *paws, tail]


def frog() -> list[Part]:
    """Squat, with eyes on top and folded hind legs."""
    eyes = [ball((0.35, y, 0.35), 0.15) for y in (-0.28, 0.28)]
    thighs = [ball((-0.3, y, -0.1), (0.45, 0.16, 0.22)) for y in (-0.62, 0.62)]
    feet = [sheet((-0.1, y, -0.3), (0.35, y * 1.45, -0.3), (0.4, y * 0.85, -0.3)) for y in (-0.7, 0.7)]
    return [ball((0, 0, 0), (0.7, 0.52, 0.3)), *eyes, *thighs, *feet]


def bee() -> list[Part]:
    """A fat body in rings, four wings raised, a sting and feelers."""
    rings = [ring((x, 0, 0), r, 0.04, (1, 0, 0)) for x, r in ((-0.35, 0.3), (-0.1, 0.36), (0.15, 0.34))]
    wings = []
    for side in (-1, 1):
        wings.append(sheet((0.15, 0, 0.3), (0.4, side * 0.7, 0.85), (-0.05, side * 0.6, 0.95)))
        wings.append(sheet((0.0, 0, 0.3), (-0.25, side * 0.5, 0.75), (-0.45, side * 0.35, 0.65)))
    feelers = [tube((0.7, side * 0.06, 0.1), (0.95, side * 0.22, 0.4), 0.02) for side in (-1, 1)]
    sting = tube((-0.6, 0, 0), (-0.9, 0, -0.05), 0.1, 0.0)
    return [ball((-0.08, 0, 0), (0.55, 0.34, 0.34)), ball((0.6, 0, 0), 0.2), *rings, *wings, *feelers, sting]


def train() -> list[Part]:
    """A steam engine: boiler, chimney, cab and six wheels."""
    wheels = [ring((x, y, -0.38), 0.15, 0.04, (0, 1, 0)) for x in (-0.55, -0.1, 0.35) for y in (-0.26, 0.26)]
    boiler = [tube((-0.35, 0, 0), (0.8, 0, 0), 0.26), disc((0.8, 0, 0), 0.26, (1, 0, 0))]
    chimney = tube((0.6, 0, 0.25), (0.6, 0, 0.75), 0.09, 0.17)
    plough = sheet((0.8, -0.28, -0.45), (0.8, 0.28, -0.45), (1.1, 0, -0.5))
    cab = box((-0.62, 0, 0.18), (0.5, 0.58, 0.85))
    return [*boiler, chimney, cab, box((0.1, 0, -0.28), (1.5, 0.5, 0.08)), plough, *wheels]


def phone() -> list[Part]:
    """A receiver lying across a stepped base with a dial."""
    receiver = [tube((0, -0.6, 0.42), (0, 0.6, 0.42), 0.08)]
    receiver += [tube((0, y, 0.42), (0, y, 0.2), 0.12, 0.2) for y in (-0.6, 0.6)]
    dial = [ring((0.3, 0, 0.0), 0.22, 0.04, (0.6, 0, 1)), disc((0.3, 0, 0.0), 0.1, (0.6, 0, 1))]
    return [box((0.05, 0, -0.3), (0.95, 0.9, 0.3)), box((-0.15, 0, 0.0), (0.35, 0.5, 0.35)), *receiver, *dial]


def kettle() -> list[Part]:
    """A round body with a spout to one side and a high handle over it."""
    spout = tube((0.5, 0, -0.15), (1.0, 0, 0.35), 0.16, 0.07)
    handle = ring((0, 0, 0.25), 0.5, 0.05, (0, 1, 0), arc=(0.0, 0.5))
    body = [ball((0, 0, -0.1), (0.62, 0.62, 0.5), bottom=-0.8), disc((0, 0, -0.5), 0.37)]
    return [*body, ball((0, 0, 0.44), 0.09), spout, handle]


def fire() -> list[Part]:
    """Logs laid in a star, and tongues of flame above them."""
    logs = []
    for angle in np.arange(3) * np.pi / 3:
        x, y = 0.75 * np.cos(angle), 0.75 * np.sin(angle)
        logs.append(tube((-x, -y, -0.6), (x, y, -0.55), 0.09))
    tongues = [(0, 0, 0.34, 0.95), (0.3, 0.12, 0.2, 0.4), (-0.25, 0.2, 0.2, 0.5), (-0.05, -0.3, 0.2, 0.35)]
    flames = []
    for x, y, wide, tall in tongues:
        flames.append(tube((x, y, -0.45), (x, y, -0.15), wide * 0.5, wide))
        flames.append(tube((x, y, -0.15), (x * 0.8 + 0.06, y * 0.8, tall), wide, 0.0))
    return [*logs, *flames]


def boat() -> list[Part]:
    """A hull with a mast and two sails."""
    hull = [ball((0, 0, -0.4), (0.95, 0.35, 0.38), bottom=-1.0, top=0.0), tube((0, 0, -0.4), (0, 0, 1.0), 0.03)]
    sails = [
        sheet((-0.05, 0, -0.2), (-0.05, 0, 0.95), (-0.75, 0.05, -0.2)),
        sheet((0.05, 0, -0.15), (0.05, 0, 0.75), (0.6, -0.05, -0.15)),
    ]
    return [*hull, *sails]


def siren() -> list[Part]:
    """A beacon: a dome on a collar, bolted to a square plate."""
    bolts = [tube((x, y, -0.45), (x, y, -0.3), 0.06) for x in (-0.62, 0.62) for y in (-0.62, 0.62)]
    dome = [ball((0, 0, 0.15), (0.42, 0.42, 0.5), bottom=0.0), tube((0, 0, -0.15), (0, 0, 0.15), 0.42)]
    return [box((0, 0, -0.5), (1.5, 1.5, 0.1)), ring((0, 0, -0.18), 0.52, 0.08), *dome, *bolts]


SHAPES: dict[str, Callable[[], list[Part]]] = {
    shape.__name__: shape
    for shape in (bell, drum, bird, car, clock, rain, dog, cat, frog, bee, train, phone, kettle, fire, boat, siren)
}
