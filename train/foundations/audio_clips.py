"""Audio clips of two seconds for the audio foundations: made as they are asked for, or once into a pool.

Shapes: B clips, N = 32,000 samples, T = 200 mel frames, M = 64 mel bands, C latent channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from decoders.audio import encode_mel
from decoders.mel import log_mel
from train.foundations.components import weights_hash
from train.foundations.pools import BATCH, EndlessDataset, Pool, content_hash
from train.worlds import MediaStream
from train.worlds.media_files import RATE, SECONDS
from train.worlds.variations import in_a_room

#: Stream of the media that evaluations use; training streams use other seeds.
HELD_OUT_SEED = 992
#: Silence before a clip that is shorter than two seconds, in samples.
LEAD = 1600


def waveforms(stream: MediaStream, indices: Iterable[int]) -> torch.Tensor:
    """Clips (B, N) of a stream, float32 in [-1, 1]; a short one is padded with the noise of a quiet room."""
    return torch.from_numpy(np.stack([_two_seconds(stream, index) for index in indices]))


def _two_seconds(stream: MediaStream, index: int) -> np.ndarray:
    wave, length = stream.medium(index), int(RATE * SECONDS)
    if len(wave) == length:
        return wave
    return in_a_room(wave, length, min(LEAD, length - len(wave)), np.random.default_rng((stream.seed, index)))


@dataclass(frozen=True)
class AudioPool(Pool):
    """The first clips of a stream of audio."""

    @cached_property
    def content(self) -> str:
        """Changes with the clips."""
        return content_hash([waveforms(self.stream, range(min(BATCH, len(self.stream)))).numpy()])

    def waves(self) -> Iterator[torch.Tensor]:
        """All clips, up to ``BATCH`` of them (B, N) at a time."""
        return (waveforms(self.stream, rows) for rows in self.batches())

    def latents(self, vae: AutoencoderKL) -> torch.Tensor:
        """Scaled latents (count, C, T / 8, M / 8) in half precision."""
        made = (item for waves in self.waves() for item in encode_mel(vae, log_mel(waves)).half().numpy())
        return torch.from_numpy(self.cached("audio-latents", lambda: made, self.content, weights_hash(vae)))


class MelStream(EndlessDataset):
    """Item i is the log-mel (T, M) of clip i of a stream, round after round: nothing is kept."""

    length = 1_000_000

    def __init__(self, stream: MediaStream) -> None:
        self.stream = stream

    def __getitem__(self, index: int) -> torch.Tensor:
        return log_mel(waveforms(self.stream, [index % len(self.stream)]))[0]
