"""Making the bank of sounds, once, from a soundfont and from Toybox's voices.

The soundfont is rendered by a library that only this needs: it is installed into a folder for the while, pinned by its
hashes, and used in a process of its own (``python -m data.things.sounds.building SOUNDFONT OUT``).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data import toybox
from data.resampling import resample
from data.things.sounds.bank import FULL_SCALE, LEVEL, RATE, loudest
from data.things.sounds.kinds import Kind, kinds
from data.things.sources import SourceError

RENDERER = Path(__file__).parent / "renderer.txt"
ROOT = Path(__file__).parents[3]
#: Semitones between recorded notes; what lies between is made by playing one faster or slower.
STEP = 3
_FULL_RATE, _VELOCITY = 48_000, 100
#: Seconds recorded of a note, of a hit or event, and of what goes on (after its beginning).
_NOTE, _EVENT, _STEADY, _BEGINNING = 2.6, 2.6, 8.0, 1.0
#: Samples under this, full scale 1, are silence where a recording begins or ends.
_SILENCE = 2e-3
#: How long each voice of Toybox sounds in seconds, and how many recordings there are of it.
_VOICE_SECONDS, _VOICE_COUNT = (0.3, 0.5), 10


def build_sounds(files: Path, out: Path) -> None:
    """Make the bank of the soundfont in ``files``. SourceError where the renderer cannot be had or fails."""
    with tempfile.TemporaryDirectory(dir=files) as tools:
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps"]
        pip += ["--require-hashes", "--only-binary", ":all:", "--target", tools, "--requirement", str(RENDERER)]
        _run(pip, "its renderer cannot be installed")
        paths = os.pathsep.join([tools, str(ROOT)])
        command = [sys.executable, "-m", "data.things.sounds.building", str(next(files.glob("*.sf2"))), str(out)]
        _run(command, "its soundfont cannot be rendered", os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"})


def _run(command: list[str], failure: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise SourceError(f"sounds: {failure}: {lines[-1] if lines else 'it says no reason'}")


def _write(soundfont: Path, out: Path) -> None:
    """Render all kinds into the folder ``out``."""
    player = _Player(soundfont)
    waves, rows, end = [], [], 0
    for kind in kinds().values():
        for note, wave in _recorded(kind, player):
            level = _trimmed(_levelled(wave))
            waves.append((level.clip(-1, 1) * FULL_SCALE).round().astype(np.int16))
            rows.append({"kind": kind.name, "note": note, "start": end, "stop": end + len(level)})
            end += len(level)
    np.save(out / "waves.npy", np.concatenate(waves))
    (out / "recordings.json").write_text(json.dumps(rows))


def _recorded(kind: Kind, player: "_Player") -> Iterator[tuple[int, np.ndarray]]:
    """Notes and waves (N,) of a kind's recordings."""
    source, which = kind.made
    if source == "voice":
        rng = np.random.default_rng(0)
        for index in range(_VOICE_COUNT):
            seconds = float(rng.uniform(*_VOICE_SECONDS))
            yield 0, toybox.sounding(which, seconds, float(rng.uniform(0.85, 1.2)), index)
    elif kind.form == "notes":
        low, high = kind.range
        for note in range(low, high + 1, STEP):
            yield note, player.play(which, note, _NOTE)
    elif source == "key":
        yield 0, player.hit(which, _EVENT)
    else:
        seconds = _EVENT if kind.form != "steady" else _STEADY
        for note in (58, 60, 62):
            wave = player.play(which, note, seconds)
            yield 0, wave[round(_BEGINNING * RATE) :] if kind.form == "steady" else wave


class _Player:
    """A soundfont, heard one note at a time: float32 (N,) at 16 kHz."""

    def __init__(self, soundfont: Path) -> None:
        from tinysoundfont import Synth  # pyright: ignore[reportMissingImports]  # only where the bank is made

        self.synth: Any = Synth(gain=-6, samplerate=_FULL_RATE)
        self.font = self.synth.sfload(str(soundfont))

    def play(self, program: int, note: int, seconds: float) -> np.ndarray:
        return self._heard(0, program, note, seconds)

    def hit(self, key: int, seconds: float) -> np.ndarray:
        return self._heard(128, 0, key, seconds)

    def _heard(self, bank: int, program: int, note: int, seconds: float) -> np.ndarray:
        self.synth.program_select(0, self.font, bank, program)
        self.synth.noteon(0, note, _VELOCITY)
        stereo = np.frombuffer(self.synth.generate(round(seconds * _FULL_RATE)), np.float32).reshape(-1, 2)
        self.synth.sounds_off()
        self.synth.generate(_FULL_RATE // 10)
        return resample(torch.from_numpy(stereo.mean(1))[None], _FULL_RATE, RATE)[0].numpy()


def _levelled(wave: np.ndarray) -> np.ndarray:
    """Its loudest fifth of a second at the bank's level."""
    return wave * np.float32(LEVEL / max(loudest(wave), 1e-6))


def _trimmed(wave: np.ndarray) -> np.ndarray:
    """Without silence before and after it."""
    loud = np.flatnonzero(np.abs(wave) > _SILENCE)
    return wave[max(loud[0] - 80, 0) : loud[-1] + 1] if len(loud) else wave[:1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    _write(Path(sys.argv[1]), Path(sys.argv[2]))
