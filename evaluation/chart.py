"""Line charts as inline SVG: a report is one file that needs no other."""

from __future__ import annotations

import html
import math

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 110, 34, 40
COLOURS = ("#b3261e", "#1a5fb4", "#176f2c", "#7a4fb0")


def line_chart(title: str, lines: dict[str, list[tuple[int, float]]], logarithmic: bool = False) -> str:
    """Lines of (length, value) points: lengths on a scale of doublings, values from 0 to 1 or ``logarithmic``."""
    lengths = sorted({length for points in lines.values() for length, _ in points})
    values = [value for points in lines.values() for _, value in points]
    across = _scale(math.log2(lengths[0]), math.log2(lengths[-1]), LEFT, WIDTH - RIGHT)
    low, high = (math.log10(min(values)), math.log10(max(values))) if logarithmic else (0.0, 1.0)
    up = _scale(low, high, HEIGHT - BOTTOM, TOP)

    def height(value: float) -> float:
        return up(math.log10(value) if logarithmic else value)

    parts = [f'<text x="{LEFT}" y="18" font-weight="600">{html.escape(title)}</text>']
    for step in range(5):
        mark = low + (high - low) * step / 4
        shown = 10**mark if logarithmic else mark
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(mark):.1f}" y2="{up(mark):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(mark) + 4:.1f}" text-anchor="end">{shown:.4g}</text>')
    for length in lengths:
        x = across(math.log2(length))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{length}</text>')
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        places = [(across(math.log2(length)), height(value)) for length, value in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(f'<text x="{x + 10:.1f}" y="{y + 4:.1f}" fill="{colour}">{html.escape(name)}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="12" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
    )


def _scale(low: float, high: float, start: float, end: float):
    """Values from low to high -> places from start to end; all in the middle where low is high."""

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return start + share * (end - start)

    return place
