"""Contact sheets and sounds of the world: ``python -m data.toybox.gallery docs/toybox`` makes those of the docs."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from data.toybox.audio.render import render_audio
from data.toybox.audio.waves import RATE
from data.toybox.drawing.render import render_image, render_video
from data.toybox.world import BACKGROUNDS, COLOURS, COUNTS, MOTIONS, PLACES, SIZES, THINGS, sample

#: Pixels between neighbours on a contact sheet, and the grey behind them.
GAP, PAPER = 2, 245


def contact_sheet(columns: Iterable[Iterable[np.ndarray]]) -> np.ndarray:
    """Images in columns on one page: uint8 (height, width, 3).

    ``columns`` holds columns of equally large uint8 (size, size, 3) images; a video (frames, size, size, 3) takes as
    many places of its column as it has frames. Shorter columns end in empty paper.
    """
    stacks = [[frame for item in column for frame in (item if item.ndim == 4 else [item])] for column in columns]
    sizes = {image.shape for stack in stacks for image in stack}
    if len(sizes) != 1:
        raise ValueError(f"images have the shapes {sorted(sizes)}: expected exactly one")
    height, width, _ = sizes.pop()
    rows = max(len(stack) for stack in stacks)
    page = np.full((rows * (height + GAP) + GAP, len(stacks) * (width + GAP) + GAP, 3), PAPER, dtype=np.uint8)
    for column, stack in enumerate(stacks):
        for row, image in enumerate(stack):
            top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
            page[top : top + height, left : left + width] = image
    return page


def pages(seed: int = 0, size: int = 64) -> dict[str, np.ndarray]:
    """Named contact sheets that show every visible attribute of the world once."""
    scenes = (sample(seed, index, "all").with_(count=1, place="centre") for index in range(10**6))

    def page(*columns: list[dict]) -> np.ndarray:
        return contact_sheet([[render_image(next(scenes).with_(**named), size) for named in each] for each in columns])

    return {
        "things": page(*([{"thing": each, "colour": name, "size": "large"} for each in THINGS] for name in COLOURS)),
        "sizes": page(*([{"thing": thing, "size": each} for each in SIZES] for thing in THINGS)),
        "places": page(*([{"size": each, "place": place} for each in SIZES] for place in PLACES)),
        "backgrounds": page(*([{"background": name, "colour": colour} for name in BACKGROUNDS] for colour in COLOURS)),
        "counts": page(*([{"thing": thing, "count": count} for count in COUNTS] for thing in THINGS)),
        "videos": contact_sheet([[render_video(next(scenes).with_(motion=motion), size=size)] for motion in MOTIONS]),
    }


def write_gallery(folder: Path) -> list[Path]:
    """Contact sheets (PNG), one sound a thing (16 kHz WAV) and a page that plays them; returns what was written."""
    sounds = folder / "sounds"
    sounds.mkdir(parents=True, exist_ok=True)
    written = []
    for name, page in pages().items():
        written.append(folder / f"{name}.png")
        Image.fromarray(page).quantize(128).save(written[-1], optimize=True)
    for index, thing in enumerate(THINGS):
        scene = sample(5, index).with_(thing=thing, pitch="medium", pace="medium", repeats=2)
        written.append(sounds / f"{thing}.wav")
        soundfile.write(written[-1], render_audio(scene), RATE, subtype="PCM_16")
    players = (
        f'<p><b>{each}</b><br><audio controls preload="none" src="sounds/{each}.wav"></audio></p>' for each in THINGS
    )
    style = "body{font-family:sans-serif;columns:4 16rem;margin:2rem} p{break-inside:avoid} audio{width:14rem}"
    head = f"<!doctype html><meta charset=utf-8><title>Toybox sounds</title><style>{style}</style>"
    written.append(folder / "listen.html")
    written[-1].write_text("\n".join([head, *players, ""]), encoding="utf-8")
    return written


if __name__ == "__main__":
    for path in write_gallery(Path(sys.argv[1])):
        print(path)
