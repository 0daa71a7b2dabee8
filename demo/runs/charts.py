"""Curves as charts: where lines, grid and labels lie in an SVG, which a template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from demo.runs.training import Curve, TrainingRun, smoothed

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360.0, 176.0, 50.0, 8.0, 10.0, 24.0
#: The most points of a line: more than a screen shows.
MOST_POINTS = 400
#: Curves of fewer points are not smoothed.
SMOOTHED_FROM = 24
VALIDATION = "validation_"
#: Figures that are no losses, by the group that they are shown in.
GROUPS = {
    "rates": ("learning_rate", "grad_norm"),
    "speed": ("tokens_per_second", "samples_per_second", "peak_memory_gib"),
}


@dataclass(frozen=True)
class Line:
    """A line of a chart."""

    name: str  # faint (what was logged), training (that, or its running mean) or validation
    points: str  # as SVG has them


@dataclass(frozen=True)
class Chart:
    """A figure over the steps 0 to ``steps``, from ``low`` to ``high``; ``rows`` and ``columns`` are (place, label) of
    the grid."""

    name: str
    last: str
    steps: int
    low: float
    high: float
    lines: list[Line]
    rows: list[tuple[float, str]]
    columns: list[tuple[float, str]]

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM


def charts_of(run: TrainingRun) -> list[tuple[str, list[Chart]]]:
    """A chart of each figure, in groups: losses and what evaluations gave, rates, speed and memory."""
    names = list(dict.fromkeys(name.removeprefix(VALIDATION) for name in run.curves))
    grouped = {group: [name for name in own if name in names] for group, own in GROUPS.items()}
    others = [name for name in names if not any(name in own for own in grouped.values())]
    grouped = {"losses": sorted(others, key=lambda name: name != "loss"), **grouped}
    last = max([run.steps, *(curve[-1][0] for curve in run.curves.values())], default=1)
    return [(group, [_chart(run, name, last) for name in own]) for group, own in grouped.items() if own]


def sparkline(curve: Curve, width: float = 120.0, height: float = 28.0) -> str:
    """The points of a small line without axes."""
    points = thinned(curve, 60)
    if len(points) < 2:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = points[0][0], points[-1][0]
    return _points(
        [
            (width * (x - first) / ((last - first) or 1), 1 + (height - 2) * (high - y) / ((high - low) or 1))
            for x, y in points
        ]
    )


def thinned(curve: Curve, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many points: means of neighbours. The last point stays."""
    if len(curve) <= most:
        return list(curve)
    size = math.ceil((len(curve) - 1) / (most - 1))
    blocks = [curve[start : start + size] for start in range(0, len(curve) - 1, size)]
    means = [(_mean([x for x, _ in block]), _mean([y for _, y in block])) for block in blocks]
    return [*means, curve[-1]]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count`` of them."""
    span = (high - low) or abs(high) or 1.0
    rough = span / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def figure(value: float | None) -> str:
    """A number as people read it: four significant digits, no exponent where it can be helped."""
    if value is None:
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.3g}"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text


def _chart(run: TrainingRun, name: str, last: int) -> Chart:
    own, checked = run.curves.get(name, []), run.curves.get(VALIDATION + name, [])
    values = [value for _, value in (*own, *checked)]
    low, high = min(values), max(values)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    low, high = (max(low - margin, 0.0) if low >= 0 else low - margin), high + margin
    lines = []
    smooth = len(own) >= SMOOTHED_FROM and name not in ("learning_rate", "peak_memory_gib")
    for kind, curve in (
        ("faint" if smooth else "training", own),
        ("training", _smooth(own) if smooth else []),
        ("validation", checked),
    ):
        if curve:
            lines.append(_line(kind, thinned(curve), low, high, last))
    rows = [(_y(tick, low, high), figure(tick)) for tick in ticks(low, high)]
    columns = [(_x(tick, last), figure(tick)) for tick in ticks(0, last) if tick == int(tick)]
    return Chart(name, figure((own or checked)[-1][1]), last, low, high, lines, rows, columns)


def _line(kind: str, curve: Sequence[tuple[float, float]], low: float, high: float, last: int) -> Line:
    return Line(kind, _points([(_x(step, last), _y(value, low, high)) for step, value in curve]))


def _smooth(curve: Curve) -> Curve:
    return list(zip((step for step, _ in curve), smoothed(value for _, value in curve), strict=True))


def _x(step: float, last: int) -> float:
    return LEFT + (WIDTH - RIGHT - LEFT) * step / max(last, 1)


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (high - value) / ((high - low) or 1.0)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
