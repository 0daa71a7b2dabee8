"""Boxes in texts: where something is in an image, as a language model writes it.

A box is ``[x0, y0, x1, y1]``: left, top, right and bottom as whole percent of the image's width and height, the origin
at the top left. "The cat is at [12, 40, 55, 90]."
"""

import re
from collections.abc import Sequence

Box = tuple[int, int, int, int]
_BOX = re.compile(r"\[\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\]")


def format_box(corners: Sequence[float]) -> str:
    """Left, top, right, bottom as shares of the image's sides, 0 to 1, in the form that :func:`parse_boxes` reads."""
    return f"[{', '.join(str(round(100 * corner)) for corner in corners)}]"


def parse_boxes(text: str) -> list[Box]:
    """The boxes that a text names, in order. Brackets that are no box of the image are left out."""
    found = [(int(match[1]), int(match[2]), int(match[3]), int(match[4])) for match in _BOX.finditer(text)]
    return [box for box in found if max(box) <= 100 and box[0] < box[2] and box[1] < box[3]]


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, left, top, right, bottom."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / max(sum(areas) - shared, 1)
