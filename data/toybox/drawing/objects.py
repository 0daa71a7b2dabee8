"""The things as layers of polygons: one small function a thing (creatures: :mod:`data.toybox.drawing.creatures`).

A thing faces right, fills the unit square and has a silhouette of its own. Its body is in the scene's colour
("body", with a darker "shade" and a lighter "light"); dark, white and cream are the only fixed accents.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from data.toybox.drawing.creatures import bee, bird, cat, dog, frog
from data.toybox.drawing.shapes import Layer, arc, blob, box, curve, ellipse, line, outlined, plain, polygon, ribbon


def _wheel(x: float, y: float, radius: float) -> list[Layer]:
    return [
        *plain("dark", ellipse(x, y, radius, radius, steps=20)),
        *plain("cream", ellipse(x, y, 0.5 * radius, 0.5 * radius, steps=14)),
    ]


def bell() -> list[Layer]:
    """A flared bell with a loop above, a cream band and a clapper."""
    body = curve(
        (-0.88, 0.56), (-0.64, 0.3), (-0.57, -0.12), (-0.42, -0.52), (0, -0.7),
        (0.42, -0.52), (0.57, -0.12), (0.64, 0.3), (0.88, 0.56),
    )  # fmt: skip
    return [
        *outlined("body", ribbon(arc(0, -0.77, 0.12, 130, 410), 0.09), width=0.06),
        *outlined("cream", ellipse(0, 0.7, 0.2, 0.2)),
        *outlined("body", body),
        *plain("cream", line((-0.68, 0.38), (0, 0.42), (0.68, 0.38), width=0.1)),
        *plain("light", line((-0.36, 0.12), (-0.3, -0.25), (-0.17, -0.45), width=0.11)),
    ]


def drum() -> list[Layer]:
    """A drum with zigzag cords and two crossed sticks."""
    bottom = curve((-0.85, 0.6), (-0.5, 0.83), (0, 0.9), (0.5, 0.83), (0.85, 0.6))
    side = np.concatenate([polygon((-0.85, -0.2)), bottom, polygon((0.85, -0.2))])
    zigzag = [(-0.8, 0.1), (-0.4, 0.68), (0.0, 0.2), (0.4, 0.68), (0.8, 0.1)]
    return [
        *outlined("body", side),
        *plain("cream", *(line(*pair, width=0.08) for pair in pairwise(zigzag))),
        *outlined("light", ellipse(0, -0.2, 0.85, 0.27)),
        *plain("cream", ellipse(0, -0.2, 0.72, 0.19)),
        *outlined("shade", line((-0.8, -0.88), (0.16, -0.24), width=0.09), ellipse(0.18, -0.23, 0.1, 0.1), width=0.05),
        *outlined("shade", line((0.8, -0.88), (-0.16, -0.24), width=0.09), ellipse(-0.18, -0.23, 0.1, 0.1), width=0.05),
    ]


def car() -> list[Layer]:
    """A small saloon car on two wheels."""
    cabin = blob((-0.62, 0.0), (-0.48, -0.42), (-0.3, -0.52), (0.18, -0.52), (0.34, -0.42), (0.58, 0.0), (0.0, 0.12))
    hull = box(0, 0.15, 0.93, 0.28, 0.18)
    return [
        *outlined("body", cabin, hull),
        *plain("white", polygon((-0.46, -0.08), (-0.36, -0.38), (-0.1, -0.4), (-0.1, -0.08))),
        *plain("white", polygon((0.02, -0.08), (0.02, -0.4), (0.2, -0.38), (0.4, -0.08))),
        *plain("cream", ellipse(0.84, 0.08, 0.08, 0.1, steps=12)),
        *plain("shade", line((-0.8, 0.2), (0.8, 0.2), width=0.05)),
        *_wheel(-0.5, 0.42, 0.25),
        *_wheel(0.5, 0.42, 0.25),
    ]


def clock() -> list[Layer]:
    """An alarm clock on two feet; a thick rim around a white face."""
    ticks = [(np.cos(angle), np.sin(angle)) for angle in np.arange(12) * np.pi / 6]
    return [
        *outlined("body", line((-0.5, 0.6), (-0.7, 0.92), width=0.16), line((0.5, 0.6), (0.7, 0.92), width=0.16)),
        *outlined("body", ellipse(0, -0.02, 0.9, 0.9, steps=40)),
        *outlined("white", ellipse(0, -0.02, 0.6, 0.6, steps=32), width=0.04),
        *plain("dark", *(ellipse(0.5 * x, 0.5 * y - 0.02, 0.045, 0.045, steps=8) for x, y in ticks)),
        *plain("dark", line((0, 0), (0, -0.44), width=0.1)),
        *plain("dark", line((0, 0), (0.28, 0.16), width=0.12)),
    ]


def rain() -> list[Layer]:
    """A cloud with four falling drops."""
    cloud = (
        ellipse(-0.52, -0.3, 0.4, 0.32), ellipse(-0.1, -0.52, 0.44, 0.4), ellipse(0.42, -0.36, 0.42, 0.36),
        box(0.0, -0.18, 0.86, 0.22, 0.22),
    )  # fmt: skip
    return [
        *outlined("body", *cloud),
        *plain("light", line((-0.34, -0.62), (-0.15, -0.77), (0.06, -0.78), width=0.09)),
        *[layer for x, y in ((-0.6, 0.42), (-0.2, 0.7), (0.2, 0.42), (0.6, 0.7)) for layer in _drop(x, y)],
    ]


def _drop(x: float, y: float) -> list[Layer]:
    shape = polygon((0, -0.26), (0.13, 0.02), (0.11, 0.14), (0, 0.2), (-0.11, 0.14), (-0.13, 0.02))
    return outlined("body", shape + np.array((x, y)), width=0.05)


def train() -> list[Layer]:
    """A steam locomotive with cab, dome, chimney and three wheels."""
    steam = ellipse(0.34, -0.84, 0.15, 0.12, steps=14), ellipse(0.08, -0.86, 0.1, 0.08, steps=12)
    return [
        *outlined("white", *steam, width=0.04),
        *outlined("shade", polygon((0.36, -0.2), (0.3, -0.6), (0.68, -0.6), (0.6, -0.2))),
        *outlined("shade", ellipse(0.05, -0.22, 0.15, 0.17)),
        *outlined("body", box(0.22, 0.08, 0.66, 0.32, 0.2), box(-0.56, -0.08, 0.34, 0.5, 0.06)),
        *outlined("shade", box(-0.55, -0.62, 0.44, 0.08, 0.06)),
        *plain("white", box(-0.57, -0.28, 0.2, 0.18, 0.04)),
        *plain("cream", line((0.06, -0.16), (0.06, 0.36), width=0.07)),
        *plain("cream", line((0.5, -0.16), (0.5, 0.36), width=0.07)),
        *outlined("shade", polygon((0.72, 0.4), (0.98, 0.8), (0.6, 0.8)), box(-0.08, 0.47, 0.84, 0.1, 0.05)),
        *_wheel(-0.58, 0.6, 0.3),
        *_wheel(0.02, 0.68, 0.22),
        *_wheel(0.46, 0.68, 0.22),
    ]


def phone() -> list[Layer]:
    """A dial telephone with its handset on the cradle."""
    base = blob(
        (-0.8, 0.85), (-0.74, 0.5), (-0.42, -0.1), (-0.2, -0.24), (0.2, -0.24), (0.42, -0.1), (0.74, 0.5), (0.8, 0.85),
        (0, 0.88),
    )  # fmt: skip
    holes = [(0.26 * np.cos(angle), 0.36 + 0.26 * np.sin(angle)) for angle in np.arange(8) * np.pi / 4]
    grip = ribbon(curve((-0.76, -0.38), (-0.5, -0.66), (0, -0.76), (0.5, -0.66), (0.76, -0.38)), 0.24)
    return [
        *outlined("shade", box(-0.2, -0.32, 0.08, 0.16, 0.04), box(0.2, -0.32, 0.08, 0.16, 0.04)),
        *outlined("body", base),
        *outlined("cream", ellipse(0, 0.36, 0.38, 0.38), width=0.05),
        *plain("dark", *(ellipse(x, y, 0.065, 0.065, steps=8) for x, y in holes)),
        *plain("body", ellipse(0, 0.36, 0.12, 0.12, steps=12)),
        *outlined("body", grip, box(-0.74, -0.3, 0.2, 0.16, 0.09), box(0.74, -0.3, 0.2, 0.16, 0.09)),
    ]


def kettle() -> list[Layer]:
    """A round kettle with a spout and an arched handle."""
    pot = blob(
        (-0.62, 0.72), (-0.66, 0.3), (-0.42, -0.1), (0.0, -0.2), (0.42, -0.1), (0.6, 0.3), (0.56, 0.72), (0, 0.84)
    )
    spout = polygon((0.42, 0.36), (0.62, 0.06), (0.72, -0.3), (0.96, -0.3), (0.82, 0.16), (0.52, 0.64))
    return [
        *outlined("dark", ribbon(arc(-0.03, -0.22, 0.6, 180, 360, 20), 0.12), width=0.03),
        *plain("cream", ribbon(arc(-0.03, -0.22, 0.6, 222, 318, 12), 0.09)),
        *outlined("body", spout, pot),
        *outlined("shade", ellipse(0, -0.16, 0.34, 0.12)),
        *outlined("cream", ellipse(0, -0.34, 0.1, 0.1, steps=14), width=0.05),
        *plain("light", line((-0.46, 0.5), (-0.45, 0.25), (-0.32, 0.06), width=0.11)),
        *plain("shade", line((-0.56, 0.64), (0, 0.72), (0.52, 0.64), width=0.06)),
    ]


def fire() -> list[Layer]:
    """A campfire of three tongues on two crossed logs."""
    flame = curve(
        (0.0, 0.72), (-0.5, 0.58), (-0.68, 0.18), (-0.56, -0.2), (-0.42, -0.42), (-0.3, -0.1), (-0.14, -0.5),
        (0.06, -0.95), (0.2, -0.6), (0.34, -0.2), (0.46, -0.5), (0.64, -0.1), (0.68, 0.24), (0.46, 0.6), (0.0, 0.72),
    )  # fmt: skip
    inner = blob(
        (0, 0.66), (-0.34, 0.46), (-0.3, 0.14), (-0.06, -0.1), (0.04, -0.36), (0.18, -0.02), (0.34, 0.2), (0.3, 0.5)
    )
    return [
        *outlined("wood", line((-0.72, 0.62), (0.72, 0.88), width=0.2)),
        *outlined("wood", line((0.72, 0.62), (-0.72, 0.88), width=0.2)),
        *outlined("body", flame),
        *plain("light", inner),
        *plain("cream", blob((0, 0.62), (-0.17, 0.46), (0, 0.12), (0.17, 0.46))),
    ]


def boat() -> list[Layer]:
    """A sailing boat with a coloured and a white sail."""
    hull = curve((-0.96, 0.36), (-0.8, 0.62), (-0.5, 0.8), (0.0, 0.84), (0.5, 0.8), (0.8, 0.62), (0.96, 0.36))
    return [
        *plain("wood", line((0.0, 0.4), (0.0, -0.92), width=0.1)),
        *outlined("body", curve((0.1, -0.84), (0.46, -0.4), (0.7, 0.2)), width=0.06),
        *outlined("body", polygon((0.12, -0.8), (0.5, -0.34), (0.74, 0.2), (0.12, 0.2))),
        *outlined("white", polygon((-0.12, -0.68), (-0.12, 0.2), (-0.66, 0.2))),
        *outlined("body", hull),
        *plain("cream", line((-0.82, 0.47), (0, 0.5), (0.82, 0.47), width=0.09)),
    ]


def siren() -> list[Layer]:
    """A domed warning light on a plinth, with five rays."""
    dome = np.concatenate([polygon((-0.5, 0.5)), arc(0, 0.02, 0.5, 180, 360, 20), polygon((0.5, 0.5))])
    rays = [(np.cos(angle), np.sin(angle)) for angle in np.deg2rad((190, 230, 270, 310, 350))]
    beams = [line((0.7 * x, 0.02 + 0.7 * y), (0.93 * x, 0.02 + 0.93 * y), width=0.13) for x, y in rays]
    return [
        *[layer for beam in beams for layer in outlined("body", beam, width=0.05)],
        *outlined("body", dome),
        *plain("light", line((-0.32, 0.3), (-0.32, 0.0), (-0.16, -0.24), width=0.11)),
        *outlined("cream", ellipse(0.06, 0.12, 0.16, 0.18, steps=16), width=0.04),
        *plain("dark", box(0.06, 0.38, 0.07, 0.14, 0.02)),
        *outlined("metal", box(0, 0.56, 0.68, 0.13, 0.06), box(0, 0.78, 0.84, 0.13, 0.06)),
    ]


#: The painter of every thing of the world.
PAINTERS: dict[str, Callable[[], list[Layer]]] = {
    painter.__name__: painter
    for painter in (bell, drum, bird, car, clock, rain, dog, cat, frog, bee, train, phone, kettle, fire, boat, siren)
}
