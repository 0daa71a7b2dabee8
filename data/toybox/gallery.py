"""The pictures and sounds of the documentation: ``python -m data.toybox.gallery docs/toybox``."""

from __future__ import annotations

import sys
from pathlib import Path

import soundfile
from PIL import Image

from data.toybox.audio.render import RATE, render_audio
from data.toybox.contact_sheet import tour
from data.toybox.world import THINGS, sample

PAGES = ("things", "places", "counts", "films")


def write_gallery(folder: Path) -> list[Path]:
    """Contact sheets (PNG) and one sound a thing (16 kHz WAV); says what was written."""
    sounds = folder / "sounds"
    sounds.mkdir(parents=True, exist_ok=True)
    written = []
    for name, page in tour(size=64).items():
        if name in PAGES:
            written.append(folder / f"{name}.png")
            Image.fromarray(page).quantize(128).save(written[-1], optimize=True)
    for index, thing in enumerate(THINGS):
        scene = sample(5, index).with_(thing=thing, pitch="medium", pace="medium", repeats=2)
        written.append(sounds / f"{thing}.wav")
        soundfile.write(written[-1], render_audio(scene), RATE, subtype="PCM_16")
    written.append(folder / "listen.html")
    written[-1].write_text(_page(), encoding="utf-8")
    return written


def _page() -> str:
    """A page that plays every sound."""
    rows = "\n".join(
        f'<p><b>{thing}</b><br><audio controls preload="none" src="sounds/{thing}.wav"></audio></p>' for thing in THINGS
    )
    style = "body{font-family:sans-serif;columns:4 16rem;margin:2rem} p{break-inside:avoid} audio{width:14rem}"
    return f"<!doctype html><meta charset=utf-8><title>Toybox sounds</title><style>{style}</style>\n{rows}\n"


if __name__ == "__main__":
    for path in write_gallery(Path(sys.argv[1])):
        print(path)
