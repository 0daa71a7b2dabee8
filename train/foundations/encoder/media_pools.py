"""Preprocessed media for training the encoder: made once, kept on disk, with codes of what each one shows.

Shapes: B media, A attributes, S clips, H x W pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encoders import MediaEncoder
from encoders.preprocess_vision import ImageSettings
from train.embeddings.array_files import cached
from train.foundations.pools import content_hash

#: Code of an attribute that a medium is not known to have.
ABSENT = -1
VIDEO_RATE = 4.0
#: Attribute -> its values.
Attributes = Mapping[str, tuple]


def encode_attributes(shown: Mapping[str, Any], known: Attributes) -> np.ndarray:
    """int64 (A,): the index of each ``known`` attribute's value, ABSENT for those that are not there."""
    return np.array([v.index(shown[name]) if name in shown else ABSENT for name, v in known.items()])


def decode_attributes(codes: np.ndarray, known: Attributes) -> dict[str, Any]:
    """The inverse of :func:`encode_attributes`."""
    pairs = zip(known.items(), codes, strict=True)
    return {name: values[code] for (name, values), code in pairs if code != ABSENT}


@dataclass(frozen=True)
class ContrastStream:
    """``count`` media to train an encoder on. ``key`` names the pool that is made of them."""

    modality: str
    count: int
    key: str
    attributes: Attributes
    #: A medium as files or renderers give it, by its index.
    raw: Callable[[int], np.ndarray]
    #: The attributes that it shows.
    shown: Callable[[int], Mapping[str, Any]]

    def codes(self) -> np.ndarray:
        """What each medium shows: int64 (count, A)."""
        return np.stack([encode_attributes(self.shown(index), self.attributes) for index in range(self.count)])


def pool(stream: ContrastStream, encoder: MediaEncoder, cache_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """(count, ...) stored media and (count, A) codes. Pixels are bytes, spectrograms half precision.

    The name of the file holds a hash of its first media, so that a changed renderer makes a new one.
    """

    def made(indices: Iterable[int]) -> Iterator[np.ndarray]:
        for index in indices:
            rate = VIDEO_RATE if stream.modality == "video" else None
            prepared = encoder.preprocess(stream.modality, stream.raw(index), rate)
            if stream.modality in ("image", "video"):
                mean, deviation = _statistics(prepared, encoder.config.image)
                prepared = ((prepared * deviation + mean) * 255).round().clamp(0, 255).byte()
            yield (prepared.half() if stream.modality == "audio" else prepared).numpy()

    digest = content_hash(made(range(min(24, stream.count))))
    return cached(cache_dir, f"{stream.key}-{digest}", stream.count, lambda: made(range(stream.count))), stream.codes()


def from_storage(
    modality: str, stored: torch.Tensor, encoder: MediaEncoder, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Stored media (B, ...) to what ``encoder.embed`` takes; with a generator, degraded as decoders would."""
    if modality in ("image", "video"):
        pixels = stored.float() / 255
        if generator is not None:
            pixels = degrade_pixels(pixels, generator)
        mean, deviation = _statistics(pixels, encoder.config.image)
        return (pixels - mean) / deviation
    if modality == "audio" and generator is not None:
        return degrade_spectrogram(stored.float(), generator)
    return stored.float()


def degrade_pixels(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, noise and a change of brightness for about half of (B, ..., H, W) in [0, 1], each medium its own."""
    shape = (len(pixels), *[1] * (pixels.ndim - 1))
    flat = pixels.flatten(0, -3)[:, None]  # (all, 1, H, W)
    blurred = torch.nn.functional.avg_pool2d(flat, 3, 1, 1, count_include_pad=False).view_as(pixels)
    amount = (torch.rand(shape, generator=generator) * 2 - 1).clamp_min(0)
    pixels = torch.lerp(pixels, blurred, amount)
    noise = torch.randn(pixels.shape, generator=generator)
    pixels = pixels + noise * 0.06 * (torch.rand(shape, generator=generator) * 2 - 1).clamp_min(0)
    return (pixels * (0.94 + 0.12 * torch.rand(shape, generator=generator))).clamp(0, 1)


def degrade_spectrogram(energies: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
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
