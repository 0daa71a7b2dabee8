"""The five creatures of the world as layers of polygons; see :mod:`data.toybox.drawing.objects`."""

from __future__ import annotations

from data.toybox.drawing.shapes import Layer, blob, box, ellipse, line, outlined, plain, polygon


def _eye(x: float, y: float, radius: float = 0.12) -> list[Layer]:
    return [
        *plain("white", ellipse(x, y, radius, radius, steps=14)),
        *plain("dark", ellipse(x + 0.25 * radius, y, 0.6 * radius, 0.6 * radius, steps=10)),
    ]


def bird() -> list[Layer]:
    """A perching bird with a forked tail, a pale beak and two thin legs."""
    body = blob(
        (-0.5, 0.1), (-0.1, -0.2), (0.1, -0.62), (0.4, -0.78), (0.7, -0.55), (0.66, -0.1), (0.4, 0.42), (-0.05, 0.55),
        (-0.42, 0.4),
    )  # fmt: skip
    tail = polygon((-0.35, 0.05), (-0.95, -0.28), (-0.9, 0.02), (-0.97, 0.22), (-0.35, 0.42))
    legs = ((0.0, 0.5), (-0.05, 0.9)), ((0.25, 0.5), (0.25, 0.9))
    feet = ((-0.1, 0.92), (0.12, 0.92)), ((0.2, 0.92), (0.42, 0.92))
    return [
        *plain("dark", *(line(start, end, width=0.08) for start, end in (*legs, *feet))),
        *outlined("cream", polygon((0.62, -0.62), (0.97, -0.42), (0.62, -0.3))),
        *outlined("body", body, tail),
        *outlined("shade", blob((0.2, -0.05), (0.16, 0.26), (-0.2, 0.34), (-0.62, 0.2), (-0.2, -0.05)), width=0.04),
        *_eye(0.45, -0.48, 0.13),
    ]


def dog() -> list[Layer]:
    """A standing dog with a drooping ear, a raised tail and a collar."""
    legs = [box(x, 0.6, 0.11, 0.34, 0.09) for x in (-0.55, -0.28, 0.12, 0.36)]
    trunk = box(-0.12, 0.15, 0.6, 0.28, 0.22)
    head = blob(
        (0.2, -0.25), (0.3, -0.66), (0.58, -0.72), (0.74, -0.5), (0.96, -0.4), (0.95, -0.16), (0.62, -0.08), (0.45, 0.2)
    )
    tail = line((-0.62, 0.0), (-0.82, -0.3), (-0.84, -0.6), width=0.16)
    return [
        *outlined("body", tail, *legs, trunk, head),
        *outlined("shade", blob((0.28, -0.68), (0.44, -0.55), (0.4, -0.2), (0.24, 0.0), (0.12, -0.2)), width=0.04),
        *plain("cream", line((0.22, 0.04), (0.36, 0.14), (0.54, 0.12), width=0.11)),
        *plain("dark", ellipse(0.92, -0.36, 0.1, 0.09, steps=12)),
        *_eye(0.6, -0.46, 0.1),
    ]


def cat() -> list[Layer]:
    """A sitting cat seen from the front, with pointed ears, whiskers and a curled tail."""
    body = blob((-0.5, 0.88), (-0.5, 0.45), (-0.26, 0.05), (0.26, 0.05), (0.5, 0.45), (0.5, 0.88), (0.0, 0.93))
    tail = line((0.4, 0.82), (0.82, 0.72), (0.84, 0.3), (0.7, 0.05), width=0.17)
    ears = polygon((-0.54, -0.3), (-0.56, -0.93), (-0.08, -0.6)), polygon((0.54, -0.3), (0.56, -0.93), (0.08, -0.6))
    inner_ears = [polygon((-0.46, -0.48), (-0.47, -0.74), (-0.26, -0.58))]
    inner_ears += [polygon((0.46, -0.48), (0.47, -0.74), (0.26, -0.58))]
    whiskers = [
        line((0.2 * side, y), (side * reach, tip), width=0.04)
        for side in (-1, 1)
        for y, reach, tip in ((-0.15, 0.76, -0.24), (-0.08, 0.74, 0.0))
    ]
    return [
        *outlined("body", tail, body),
        *outlined("body", *ears, ellipse(0, -0.26, 0.56, 0.42)),
        *plain("shade", *inner_ears),
        *plain("light", ellipse(0, 0.55, 0.24, 0.27)),
        *plain("dark", *whiskers),
        *_cat_eye(-0.24),
        *_cat_eye(0.24),
        *plain("dark", polygon((-0.08, -0.16), (0.08, -0.16), (0, -0.06))),
    ]


def _cat_eye(x: float) -> list[Layer]:
    return [
        *plain("cream", ellipse(x, -0.32, 0.13, 0.12, steps=14)),
        *plain("dark", ellipse(x, -0.32, 0.05, 0.11, steps=10)),
    ]


def frog() -> list[Layer]:
    """A squatting frog seen from the front, eyes on top of its head."""
    thighs = ellipse(-0.62, 0.36, 0.3, 0.36, 25), ellipse(0.62, 0.36, 0.3, 0.36, -25)
    feet = [ellipse(side * 0.68, 0.68, 0.27, 0.1) for side in (-1, 1)]
    toes = [ellipse(side * 0.2, 0.72, 0.15, 0.09) for side in (-1, 1)]
    knobs = ellipse(-0.4, -0.5, 0.24, 0.24, steps=20), ellipse(0.4, -0.5, 0.24, 0.24, steps=20)
    return [
        *outlined("shade", *thighs, *feet, *toes),
        *outlined("body", *knobs, ellipse(0, -0.1, 0.74, 0.44), ellipse(0, 0.3, 0.5, 0.42)),
        *plain("light", ellipse(0, 0.42, 0.32, 0.25)),
        *plain("dark", line((-0.5, -0.06), (0, 0.12), (0.5, -0.06), width=0.07)),
        *_eye(-0.4, -0.52, 0.17),
        *_eye(0.4, -0.52, 0.17),
    ]


def bee() -> list[Layer]:
    """A striped bee with two white wings."""
    stripes = [
        line((x, 0.26 - half), (x - 0.06, 0.26), (x, 0.26 + half), width=0.17)
        for x, half in ((-0.34, 0.33), (0.0, 0.4))
    ]
    return [
        *outlined("white", ellipse(-0.32, -0.45, 0.26, 0.46, -25), ellipse(0.14, -0.48, 0.26, 0.46, 20), width=0.06),
        *plain("dark", polygon((-0.7, 0.08), (-0.99, 0.25), (-0.7, 0.4))),
        *outlined("body", ellipse(-0.08, 0.26, 0.72, 0.48), ellipse(0.58, 0.18, 0.36, 0.36)),
        *plain("dark", *stripes),
        *plain("dark", line((0.6, -0.14), (0.66, -0.4), (0.84, -0.5), width=0.06)),
        *plain("dark", line((0.76, -0.1), (0.84, -0.28), (0.96, -0.32), width=0.06)),
        *_eye(0.66, 0.12, 0.13),
    ]
