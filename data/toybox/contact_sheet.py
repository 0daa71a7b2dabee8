"""Contact sheets: many Toybox pictures on one page, to look at what the world draws.

``python -m data.toybox.contact_sheet OUT.png`` writes the whole tour: things by colours, sizes, places,
backgrounds, counts and film strips.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
from PIL import Image

from data.toybox.drawing.render import render_image, render_video
from data.toybox.world import BACKGROUNDS, COLOURS, MOTIONS, PLACES, SIZES, THINGS, Scene, sample

#: Pixels between neighbours, and the paper's grey.
GAP, PAPER = 2, 245


def contact_sheet(columns: Iterable[Iterable[np.ndarray]]) -> np.ndarray:
    """Pictures in columns on one page: uint8 (height, width, 3).

    ``columns`` holds columns of equally large uint8 (size, size, 3) pictures; a film (frames, size, size, 3) takes
    as many places of its column as it has frames. Shorter columns end in empty paper.
    """
    stacks = [[frame for item in column for frame in (item if item.ndim == 4 else [item])] for column in columns]
    sizes = {picture.shape for stack in stacks for picture in stack}
    if len(sizes) != 1:
        raise ValueError(f"pictures have the shapes {sorted(sizes)}: expected exactly one")
    height, width, _ = sizes.pop()
    rows = max(len(stack) for stack in stacks)
    page = np.full((rows * (height + GAP) + GAP, len(stacks) * (width + GAP) + GAP, 3), PAPER, dtype=np.uint8)
    for column, stack in enumerate(stacks):
        for row, picture in enumerate(stack):
            top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
            page[top : top + height, left : left + width] = picture
    return page


def tour(seed: int = 0, size: int = 128) -> dict[str, np.ndarray]:
    """Named pages that show every attribute of the world once."""
    scenes = (sample(seed, index, "all").with_(count=1, place="centre") for index in range(10**6))

    def page(*columns: list[dict]) -> np.ndarray:
        return contact_sheet(
            [[render_image(next(scenes).with_(**named), size) for named in column] for column in columns]
        )

    return {
        "things": page(
            *([{"thing": thing, "colour": colour, "size": "large"} for thing in THINGS] for colour in COLOURS)
        ),
        "sizes": page(*([{"thing": thing, "size": each} for each in SIZES] for thing in THINGS)),
        "places": page(*([{"size": each, "place": place} for each in SIZES] for place in PLACES)),
        "backgrounds": page(*([{"background": name, "colour": colour} for name in BACKGROUNDS] for colour in COLOURS)),
        "counts": page(*([{"thing": thing, "count": count} for count in (1, 2, 3)] for thing in THINGS)),
        "films": contact_sheet([[_film(next(scenes), motion, size)] for motion in MOTIONS]),
    }


def _film(scene: Scene, motion: str, size: int) -> np.ndarray:
    return render_video(scene.with_(motion=motion), size=size)


def _one_page(pages: Iterable[np.ndarray]) -> np.ndarray:
    pages = list(pages)
    width = max(page.shape[1] for page in pages)
    return np.concatenate(
        [np.pad(page, ((0, 0), (0, width - page.shape[1]), (0, 0)), constant_values=PAPER) for page in pages]
    )


if __name__ == "__main__":
    Image.fromarray(_one_page(tour(size=96).values())).save(sys.argv[1])
