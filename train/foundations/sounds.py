"""Sounds for the audio foundations: rendered on the fly, or once into a pool; and the autoencoder that encodes them.

Letters: B sounds, N = 32,000 samples, T = 200 mel frames, M = 64 mel bands, C latent channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset

from data.toybox.sound import render_audio
from data.toybox.world import Scene, sample
from decoders.mel import log_mel

#: Stream of the scenes that evaluations hear; training streams use other seeds.
HELD_OUT_SEED = 992
CHUNK = 32


def scenes(seed: int, count: int) -> list[Scene]:
    """The first ``count`` scenes of a stream."""
    return [sample(seed, index) for index in range(count)]


def waveforms(drawn: list[Scene]) -> torch.Tensor:
    """Sounds (B, N) of scenes, float32 in [-1, 1]."""
    return torch.from_numpy(np.stack([render_audio(scene) for scene in drawn]))


def waveform_chunks(seed: int, count: int) -> Iterator[torch.Tensor]:
    """The first ``count`` sounds of a stream, up to ``CHUNK`` of them (B, N) at a time."""
    for start in range(0, count, CHUNK):
        yield waveforms([sample(seed, index) for index in range(start, min(start + CHUNK, count))])


class MelStream(Dataset):
    """Item i is the log-mel (T, M) of scene i of the stream ``seed``: rendering takes 5 ms, so nothing is kept."""

    def __init__(self, seed: int, length: int = 1_000_000):
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return log_mel(waveforms([sample(self.seed, index)]))[0]


def load_vae(model_dir: Path) -> AutoencoderKL:
    """The autoencoder that the ``audio_vae`` task exported, frozen, float32. ValueError where there is none."""
    folder = model_dir / "audio_decoder" / "vae"
    if not (folder / "config.json").is_file():
        raise ValueError(f"no audio autoencoder in {folder}: train the recipe audio_vae first")
    vae = AutoencoderKL.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
    return vae.eval().requires_grad_(False)


def fingerprint(seed: int, *parts: object, vae: AutoencoderKL | None = None) -> str:
    """Twelve hex digits that change with ``parts``, with how the stream ``seed`` sounds and with the autoencoder."""
    digest = hashlib.sha256(repr((seed, *parts)).encode())
    digest.update(waveforms(scenes(seed, 32)).numpy().tobytes())
    for weight in vae.state_dict().values() if vae is not None else ():
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def cached_pool(path: Path, build: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The tensors in ``path``; where it is missing, those of ``build``, written there for the next time."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}.writing")
        save_file(build(), aside)
        os.replace(aside, path)
    return load_file(path)
