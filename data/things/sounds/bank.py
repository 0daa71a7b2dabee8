"""The bank of sounds: recordings of every kind.

A recording is one note, one hit, one event, or a few seconds of what goes on; all are equally loud. They lie one after
another in ``waves.npy`` (int16, 16 kHz); ``recordings.json`` says which is which. data.things.sounds.building makes it.
"""

import json
from dataclasses import dataclass
from functools import cache

import numpy as np

from data.things.sounds.kinds import kinds
from data.things.sources import BankMissing, bank_folder

RATE = 16_000
FULL_SCALE = 32_767
#: RMS of the loudest fifth of a second of each recording, full scale 1.
LEVEL = 0.1


@dataclass(frozen=True)
class Recording:
    """A stretch of the bank's samples; ``note`` is 0 for what plays none."""

    kind: str
    note: int
    start: int
    stop: int


@cache
def recordings() -> dict[str, tuple[Recording, ...]]:
    """Kind -> its recordings, by rising note. BankMissing where the bank is not there."""
    folder = bank_folder("sounds")
    found: dict[str, tuple[Recording, ...]] = {}
    for row in json.loads((folder / "recordings.json").read_text()):
        found[row["kind"]] = (*found.get(row["kind"], ()), Recording(**row))
    if missing := kinds().keys() - found.keys():
        raise BankMissing(f"{folder} was made before there was a {min(missing)}: remove it and fetch the sounds again")
    return found


def samples(recording: Recording) -> np.ndarray:
    """float32 (N,), its loudest fifth of a second of RMS LEVEL."""
    return _waves()[recording.start : recording.stop].astype(np.float32) / FULL_SCALE


@cache
def _waves() -> np.ndarray:
    return np.load(bank_folder("sounds") / "waves.npy", mmap_mode="r")


def loudest(wave: np.ndarray) -> float:
    """RMS of the loudest fifth of a second of a wave (N,)."""
    window = min(RATE // 5, len(wave))
    sums = np.concatenate(([0.0], np.cumsum(wave.astype(np.float64) ** 2)))
    return float(np.sqrt((sums[window:] - sums[:-window]).max() / window))
