"""Sounds for the audio foundations, two seconds each: on the fly, or once into a pool; and their autoencoder.

Letters: B sounds, N = 32,000 samples, T = 200 mel frames, M = 64 mel bands, C latent channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset

from decoders.mel import log_mel
from train.recipe import RecipeError
from train.worlds.base import ENDLESS, MediaStream, World
from train.worlds.decoded import RATE, SECONDS
from train.worlds.variations import in_a_room

#: Stream of the scenes that evaluations hear; training streams use other seeds.
HELD_OUT_SEED = 992
CHUNK = 32
#: Silence before a sound that is shorter than two seconds, in samples.
LEAD = 1600


def sounds_of(world: World, seed: int, held_out: bool = False) -> MediaStream:
    """The sounds of a world; RecipeError where it has none."""
    stream = world.stream("audio", seed, held_out)
    if not len(stream):
        raise RecipeError("the data hold no sound with a caption to train on")
    return stream


def waveforms(stream: MediaStream, indices: Iterable[int]) -> torch.Tensor:
    """Sounds (B, N) of a stream, float32 in [-1, 1]; a short one stands in a quiet room."""
    return torch.from_numpy(np.stack([_two_seconds(stream, index) for index in indices]))


def _two_seconds(stream: MediaStream, index: int) -> np.ndarray:
    wave, length = stream.medium(index), int(RATE * SECONDS)
    if len(wave) == length:
        return wave
    return in_a_room(wave, length, min(LEAD, length - len(wave)), np.random.default_rng((stream.seed, index)))


def waveform_chunks(stream: MediaStream, count: int) -> Iterator[torch.Tensor]:
    """The first ``count`` sounds of a stream, up to ``CHUNK`` of them (B, N) at a time."""
    for start in range(0, count, CHUNK):
        yield waveforms(stream, range(start, min(start + CHUNK, count)))


class MelStream(Dataset):
    """Item i is the log-mel (T, M) of sound i of a stream, round after round: nothing is kept."""

    def __init__(self, stream: MediaStream, length: int = 1_000_000):
        self.stream, self.length = stream, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return log_mel(waveforms(self.stream, [index % len(self.stream)]))[0]


def load_vae(model_dir: Path) -> AutoencoderKL:
    """The autoencoder that the ``audio_vae`` task exported, frozen, float32. ValueError where there is none."""
    folder = model_dir / "audio_decoder" / "vae"
    if not (folder / "config.json").is_file():
        raise ValueError(f"no audio autoencoder in {folder}: train the recipe audio_vae first")
    vae = AutoencoderKL.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
    return vae.eval().requires_grad_(False)


def fingerprint(stream: MediaStream, *parts: object, vae: AutoencoderKL | None = None) -> str:
    """Twelve hex digits that change with ``parts``, with how the stream sounds and with the autoencoder."""
    digest = hashlib.sha256(repr((stream.seed, *parts)).encode())
    digest.update(waveforms(stream, range(min(32, len(stream)))).numpy().tobytes())
    if len(stream) < ENDLESS:  # files: the first of them do not speak for all
        digest.update(stream.key.encode())
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
