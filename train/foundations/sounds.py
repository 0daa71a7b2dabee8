"""Sounds for the audio foundations: rendered on the fly, or once into a pool; and how their components are written.

Letters: B sounds, N = 32,000 samples, T = 200 mel frames, M = 64 mel bands.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from data.toybox.sound import render_audio
from data.toybox.world import Scene, sample
from decoders.mel import log_mel

#: Stream of the scenes that evaluations hear; training streams use other seeds.
HELD_OUT_SEED = 992


def scenes(seed: int, count: int, first: int = 0) -> list[Scene]:
    """``count`` scenes of a stream, from number ``first`` on."""
    return [sample(seed, index) for index in range(first, first + count)]


def waveforms(drawn: list[Scene]) -> torch.Tensor:
    """Sounds (B, N) of scenes, float32 in [-1, 1]."""
    return torch.from_numpy(np.stack([render_audio(scene) for scene in drawn]))


class MelStream(Dataset):
    """Item i is the log-mel (T, M) of scene i of the stream ``seed``: rendering takes 5 ms, so nothing is kept."""

    def __init__(self, seed: int, length: int = 1_000_000):
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return log_mel(waveforms([sample(self.seed, index)]))[0]


def write_component(folder: Path, save: Callable[[Path], object]) -> None:
    """``save`` into a folder beside ``folder``, then put it in its place: a cut leaves the old one whole."""
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    save(aside)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)
