"""Banks of the world of things at small size, in the layout in which they lie in the cache folder."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.things.points.bank import clouds, read_obj, surface
from data.things.points.kinds import model_files
from data.things.sounds.bank import FULL_SCALE, RATE, _waves, recordings
from data.things.sounds.kinds import kinds

TONE = 12_000
CUBE = """
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
vn 0 0 1
f 1/1/1 2/1/1 3/1/1 4/1/1
f -4//1 -3//1 -2//1 -1//1
f 1 2 6 5
f 3 4 8 7
f 1 4 8 5
f 2 3 7 6
"""


@contextmanager
def plain_sounds(cache: Path) -> Iterator[Path]:
    """A bank in which every recording is a tone of its note that fades quickly."""
    folder = cache / "data" / "sounds"
    folder.mkdir(parents=True)
    rows, waves = [], []
    time = np.arange(TONE) / RATE
    for kind in kinds().values():
        for note in range(*kind.range, 3) if kind.form == "notes" else (0,):
            wave = np.sin(2 * np.pi * 440 * 2 ** ((note or 69) / 12 - 69 / 12) * time) * np.exp(-9 * time)
            rows.append({"kind": kind.name, "note": note, "start": TONE * len(waves), "stop": TONE * (len(waves) + 1)})
            waves.append((0.4 * FULL_SCALE * wave).astype(np.int16))
    np.save(folder / "waves.npy", np.concatenate(waves))
    (folder / "recordings.json").write_text(json.dumps(rows))
    (folder / "bank.json").write_text("{}")
    with _fresh(recordings, _waves):
        yield folder


@contextmanager
def boxes(cache: Path) -> Iterator[Path]:
    """A bank in which every model is the same upright box."""
    folder = cache / "data" / "models"
    folder.mkdir(parents=True)
    vertices, triangles = read_obj(CUBE)
    box = surface(vertices * (1, 1, 3), triangles, 600, np.random.default_rng(0)).astype(np.float16)
    np.save(folder / "clouds.npy", np.broadcast_to(box, (len(model_files()), *box.shape)))
    (folder / "files.json").write_text(json.dumps(model_files()))
    (folder / "bank.json").write_text("{}")
    with _fresh(clouds):
        yield folder


@contextmanager
def _fresh(*kept) -> Iterator[None]:
    """What was read before is forgotten, and what is read inside too."""
    for each in kept:
        each.cache_clear()
    yield
    for each in kept:
        each.cache_clear()
