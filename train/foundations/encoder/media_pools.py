"""Preprocessed media for training the encoder: rendered once, kept on disk, with codes of what each one shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from data import toybox
from data.toybox import world
from data.toybox.out_of_distribution.kinds import outsider
from encoders import MediaEncoder
from encoders.preprocess_image import ImageSettings
from train.array_files import cached

UNKNOWN = "unknown"
#: attribute -> values. The last "thing" is everything that the world does not hold.
ATTRIBUTES: dict[str, tuple] = world.VALUES | {"thing": (*world.THINGS, UNKNOWN)}
ABSENT = -1
VIDEO_RATE = 4.0


def encode_attributes(attributes: dict[str, str | int], known: dict[str, tuple] = ATTRIBUTES) -> np.ndarray:
    """int64 (A,): the index of each ``known`` attribute's value, -1 for those that are not there."""
    return np.array([v.index(attributes[name]) if name in attributes else ABSENT for name, v in known.items()])


def decode_attributes(codes: np.ndarray, known: dict[str, tuple] = ATTRIBUTES) -> dict[str, str | int]:
    """The inverse of :func:`encode_attributes`."""
    pairs = zip(known.items(), codes, strict=True)
    return {name: values[code] for (name, values), code in pairs if code != ABSENT}


class ContrastStream(Protocol):
    """Media to train an encoder on, as files or renderers give them, with codes of what each one shows."""

    @property
    def modality(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def key(self) -> str:
        """Names the stream's pool."""
        ...

    def raw(self, index: int) -> np.ndarray:
        """Medium ``index``."""
        ...

    def codes(self) -> np.ndarray:
        """int64 (count, A): what each medium shows."""
        ...


@dataclass(frozen=True)
class Stream:
    """Media of the scenes of ``pairs`` from ``seed``; every ``outsider_every``-th is an outsider instead (0 = none)."""

    modality: str
    seed: int
    count: int
    pairs: str = "train"
    outsider_every: int = 0

    @property
    def key(self) -> str:
        return f"{self.modality}-{self.seed}-{self.pairs}-{self.outsider_every}-{self.count}"

    def is_outsider(self, index: int) -> bool:
        return self.outsider_every > 0 and index % self.outsider_every == self.outsider_every - 1

    def raw(self, index: int) -> np.ndarray:
        """Medium ``index`` as the renderers give it."""
        if self.is_outsider(index):
            return outsider(self.modality, self.seed, index)
        return toybox.render(world.sample(self.seed, index, self.pairs), self.modality)

    def codes(self) -> np.ndarray:
        """int64 (count, 10), see :func:`encode_attributes`."""
        return np.stack([self._codes(index) for index in range(self.count)])

    def _codes(self, index: int) -> np.ndarray:
        if self.is_outsider(index):
            return encode_attributes({"thing": UNKNOWN})
        return encode_attributes(world.visible(world.sample(self.seed, index, self.pairs), self.modality))


def pool(stream: ContrastStream, encoder: MediaEncoder, cache_dir: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """(count, ...) stored media and (count, A) codes. Pictures are bytes, spectrograms half precision.

    The name of the file holds a hash of its first media, so that a changed renderer makes a new one.
    """

    def make() -> Iterator[np.ndarray]:
        return (_to_storage(stream.modality, _prepared(stream, encoder, i), encoder) for i in range(stream.count))

    first = [_to_storage(stream.modality, _prepared(stream, encoder, i), encoder) for i in range(min(24, stream.count))]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in first)).hexdigest()[:10]
    return cached(cache_dir, f"{stream.key}-{digest}", stream.count, make), stream.codes()


def _prepared(stream: ContrastStream, encoder: MediaEncoder, index: int) -> torch.Tensor:
    return encoder.preprocess(stream.modality, stream.raw(index), VIDEO_RATE if stream.modality == "video" else None)


def _to_storage(modality: str, prepared: torch.Tensor, encoder: MediaEncoder) -> np.ndarray:
    if modality in ("image", "video"):
        pixels = _denormalise(prepared, encoder.config.image)
        return (pixels * 255).round().clamp(0, 255).byte().numpy()
    return (prepared.half() if modality == "audio" else prepared).numpy()


def from_storage(modality: str, stored: torch.Tensor, encoder: MediaEncoder, generator: torch.Generator | None = None):
    """Stored media (B, ...) to what ``encoder.embed`` takes; with a generator, roughened as decoders would."""
    if modality in ("image", "video"):
        pixels = stored.float() / 255
        if generator is not None:
            pixels = roughen_pixels(pixels, generator)
        return _normalise(pixels, encoder.config.image)
    if modality == "audio":
        return stored.float() if generator is None else roughen_spectrogram(stored.float(), generator)
    return stored.float()


def roughen_pixels(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, noise and a change of brightness for about half of (B, ..., H, W) in [0, 1], each medium its own."""
    shape = (len(pixels), *[1] * (pixels.ndim - 1))
    flat = pixels.flatten(0, -3)[:, None]  # (all, 1, H, W)
    blurred = torch.nn.functional.avg_pool2d(flat, 3, 1, 1, count_include_pad=False).view_as(pixels)
    amount = (torch.rand(shape, generator=generator) * 2 - 1).clamp_min(0)
    pixels = torch.lerp(pixels, blurred, amount)
    noise = torch.randn(pixels.shape, generator=generator)
    pixels = pixels + noise * 0.06 * (torch.rand(shape, generator=generator) * 2 - 1).clamp_min(0)
    return (pixels * (0.94 + 0.12 * torch.rand(shape, generator=generator))).clamp(0, 1)


def roughen_spectrogram(energies: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another loudness and, for about half of (B, S, 1, mels, frames), a noise floor; in normalised log energies."""
    shape = (len(energies), 1, 1, 1, 1)
    energies = energies + 0.3 * (torch.rand(shape, generator=generator) - 0.5)
    floor = -3 + 2.5 * torch.rand(shape, generator=generator)
    floor = floor + 0.15 * torch.randn(energies.shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < 0.5, torch.maximum(energies, floor), energies)


def _statistics(x: torch.Tensor, settings: ImageSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation in the shape of the channels of (..., 3, H, W) or, for clips, (..., 3, 2, H, W)."""
    shape = (3, 1, 1) if x.shape[-3] == 3 else (3, 1, 1, 1)
    return torch.tensor(settings.mean).view(shape), torch.tensor(settings.deviation).view(shape)


def _normalise(pixels: torch.Tensor, settings: ImageSettings) -> torch.Tensor:
    mean, deviation = _statistics(pixels, settings)
    return (pixels - mean) / deviation


def _denormalise(x: torch.Tensor, settings: ImageSettings) -> torch.Tensor:
    mean, deviation = _statistics(x, settings)
    return x * deviation + mean
