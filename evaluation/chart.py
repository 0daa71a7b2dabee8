"""Line charts: the places of everything in a drawing, which templates/line_chart.svg turns into SVG."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

COLOURS = ("#b3261e", "#1a5fb4", "#176f2c", "#7a4fb0")
SIZES = {"width": 560, "height": 300, "left": 60, "right": 450, "top": 34, "bottom": 260}


def line_chart(title: str, lines: dict[str, list[tuple[int, float]]], logarithmic: bool = False) -> dict[str, Any]:
    """Lines of (length, value) points: lengths on a scale of doublings, values from 0 to 1 or ``logarithmic``.

    Places are in pixels: "rows" (y, label), "columns" (x, label), "lines" (name, colour, [(x, y), ...]).
    """
    lengths = sorted({length for points in lines.values() for length, _ in points})
    values = [value for points in lines.values() for _, value in points]
    low, high = (math.log10(min(values)), math.log10(max(values))) if logarithmic else (0.0, 1.0)
    x_of = _scale(math.log2(lengths[0]), math.log2(lengths[-1]), SIZES["left"], SIZES["right"])
    y_of = _scale(low, high, SIZES["bottom"], SIZES["top"])
    marks = [low + (high - low) * step / 4 for step in range(5)]

    def place(length: int, value: float) -> tuple[float, float]:
        return x_of(math.log2(length)), y_of(math.log10(value) if logarithmic else value)

    return SIZES | {
        "title": title,
        "rows": [(y_of(mark), f"{10**mark if logarithmic else mark:.4g}") for mark in marks],
        "columns": [(x_of(math.log2(length)), str(length)) for length in lengths],
        "lines": [
            (name, colour, [place(*point) for point in sorted(points)])
            for colour, (name, points) in zip(COLOURS, lines.items(), strict=False)
        ],
    }


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Values from low to high -> places from start to end, to a tenth; all in the middle where low is high."""

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(start + share * (end - start), 1)

    return place
