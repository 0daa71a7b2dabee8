"""Training of the oracles that score generated media: real renders, roughened as a decoder would roughen them.

    nextgpt-lite train train/recipes/oracle_image.yaml

Renders are made once and kept in ``.cache``; each is seen many times, each time damaged differently, so that an
oracle reads what a medium shows and not how cleanly it was drawn. Scenes hold every thing-colour pair, the
held-out ones as well: an oracle that had never seen a pair could not say whether the model got it right.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from data import toybox
from evaluation.toybox.oracles import (
    Oracle,
    OracleNetwork,
    accuracy,
    label,
    log_mel,
    mel_filters,
    resize,
    scale_mel,
    scale_pixels,
    scenes,
)
from train.task import Task

HELD_OUT_SEED = 991  # scenes of evaluate(); training streams use other seeds


class RenderPool(Dataset):
    """``count`` renders, revisited ``rounds`` times; item i is (render, labels, i)."""

    def __init__(self, renders: np.ndarray, labels: torch.Tensor, rounds: int = 64):
        self.renders, self.labels, self.rounds = renders, labels, rounds

    def __len__(self) -> int:
        return len(self.renders) * self.rounds

    def __getitem__(self, index: int) -> tuple[np.ndarray, torch.Tensor, int]:
        row = index % len(self.renders)
        return self.renders[row], self.labels[row], index


def pool_of(modality: str, seed: int, count: int, cache: Path, form: Callable[[np.ndarray], np.ndarray]) -> RenderPool:
    """Render ``count`` scenes, bring each into the form that is stored, and keep them in ``cache``.

    The file's name holds a hash of a few renders: a changed renderer makes a new pool.
    """
    drawn = scenes(seed, count)
    probe = b"".join(toybox.render(scene, modality).tobytes() for scene in drawn[:32])
    path = cache / f"{modality}-{seed}-{count}-{hashlib.sha256(probe).hexdigest()[:12]}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        bar = tqdm(drawn, desc=f"rendering {modality}", mininterval=1)
        renders = [form(toybox.render(scene, modality)) for scene in bar]
        aside = path.with_suffix(f".{os.getpid()}.npy")
        np.save(aside, np.stack(renders))
        os.replace(aside, path)
    return RenderPool(np.load(path, mmap_mode="r"), torch.tensor([label(scene, modality) for scene in drawn]))


class OracleTask(Task, ABC):
    """Cross-entropy of every head on damaged renders. Subclasses say what is stored and how it is damaged."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "seed": 7,  # stream of scenes
        "pool": 6000,  # renders
        "width": None,  # channels of the trunk; None = the shipped width
        "held_out": 500,  # scenes of evaluate()
        "cache": ".cache/oracles",
    }
    modality: ClassVar[str]
    model: OracleNetwork

    def __init__(self, settings: dict[str, Any], model_dir: str | Path):
        super().__init__(settings, model_dir)
        self.model = OracleNetwork(self.modality, self.settings["width"])
        self.dataset = pool_of(
            self.modality, self.settings["seed"], self.settings["pool"], Path(self.settings["cache"]), self.form
        )

    def form(self, render: np.ndarray) -> np.ndarray:
        """What the pool stores of a render."""
        return render

    @abstractmethod
    def damage(self, renders: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Stored renders (B, ...) to network inputs."""

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"oracle": list(self.model.parameters())}

    def collate(self, items: list[tuple[np.ndarray, torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        """{"inputs": network inputs, "labels": (B, heads)}; the damage depends on the items' numbers only."""
        renders = torch.from_numpy(np.stack([render for render, _, _ in items]))
        generator = torch.Generator().manual_seed(sum(number for _, _, number in items))
        labels = torch.stack([labels for _, labels, _ in items])
        return {"inputs": self.damage(renders, generator), "labels": labels}

    def export(self, model_dir: Path) -> None:
        """``<modality>.safetensors`` (fp16) and ``<modality>.json`` in ``model_dir``."""
        Oracle(self.model).save_pretrained(model_dir)

    def evaluate(self) -> dict[str, float]:
        """Accuracy of each head on untouched renders of fresh scenes."""
        return accuracy(Oracle(self.model), HELD_OUT_SEED, self.settings["held_out"])


class ImageOracleTask(OracleTask):
    """Pictures, (128, 128, 3) uint8."""

    modality = "image"

    def damage(self, renders: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        pixels = renders.movedim(-1, 1).float()  # (B, 3, 128, 128)
        return scale_pixels(damage_pixels(pixels, generator, len(pixels)))


class VideoOracleTask(OracleTask):
    """Films, stored at the size that the oracle looks at: (8, 64, 64, 3) uint8."""

    modality = "video"

    def form(self, render: np.ndarray) -> np.ndarray:
        small = resize(torch.from_numpy(render).movedim(-1, 1), 64)
        return small.round().byte().movedim(1, -1).numpy()

    def damage(self, renders: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        frames = renders.flatten(0, 1).movedim(-1, 1).float()  # (B F, 3, 64, 64)
        damaged = damage_pixels(frames, generator, len(renders))
        return scale_pixels(damaged.unflatten(0, renders.shape[:2]))  # (B, F, 3, 64, 64)


class AudioOracleTask(OracleTask):
    """Sounds, stored as log-mel (64, 128); one in four went through mel and back first, as a vocoder's output has."""

    modality = "audio"

    def form(self, render: np.ndarray) -> np.ndarray:
        wave = torch.from_numpy(render)[None]
        if hashlib.sha256(render.tobytes()).digest()[0] % 4 == 0:
            wave = through_mel(wave)
        return log_mel(wave)[0].half().numpy()

    def damage(self, renders: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return scale_mel(damage_mel(renders.float(), generator))


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
    """Uniform random numbers in [low, high)."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def damage_pixels(pixels: torch.Tensor, generator: torch.Generator, groups: int) -> torch.Tensor:
    """Shift, blur, blotches, noise, colour and contrast changes, block compression; (B, 3, S, S) in 0..255.

    The B pictures form ``groups`` films: what belongs to a film (shift, colours, blur) is drawn once for each.
    """
    frames, size = len(pixels) // groups, pixels.shape[-1]

    def draw(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return uniform(generator, (groups, channels, 1, 1), low, high).repeat_interleave(frames, 0)

    pixels = shifted(pixels, draw(0.96, 1.04).flatten(), draw(-0.05, 0.05, 2)[..., 0, 0])
    blurred = F.interpolate(F.avg_pool2d(pixels, size // 64 + 1), (size, size), mode="bilinear")
    pixels = pixels + draw(-0.3, 1.0) * (blurred - pixels)
    blotches = torch.randn((groups, 3, 8, 8), generator=generator).repeat_interleave(frames, 0)
    pixels = pixels + draw(0, 14) * F.interpolate(blotches, (size, size), mode="bilinear")
    pixels = pixels * draw(0.9, 1.1) * draw(0.94, 1.06, 3) + draw(-12, 12)
    pixels = pixels + draw(0, 12) * torch.randn(pixels.shape, generator=generator)
    return torch.where(draw(0, 1) < 0.5, compressed(pixels, draw(4, 16)), pixels).clamp(0, 255)


def shifted(pixels: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) scaled by ``scale`` (B,) and moved by ``shift`` (B, 2), in half pictures; edges continue."""
    matrix = torch.zeros(len(pixels), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = shift
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def compressed(pixels: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """8 x 8 cosine transform, coefficients rounded to multiples of ``step`` (B, 1, 1, 1) that grow with frequency."""
    n = torch.arange(8.0)
    basis = torch.cos(torch.pi * (2 * n[None] + 1) * n[:, None] / 16) / 2  # (frequency, place), orthonormal
    basis[0] /= 2**0.5
    blocks = pixels.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8))  # (B, 3, rows, 8, columns, 8)
    steps = step[..., None, None] * (1 + n[:, None, None] + n)  # (B, 1, 1, 8, 1, 8)
    waves = torch.einsum("ui,bcrikj,vj->bcrukv", basis, blocks, basis)
    waves = (waves / steps).round() * steps
    return torch.einsum("ui,bcrukv,vj->bcrikj", basis, waves, basis).reshape(pixels.shape)


def damage_mel(mels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gain, tilt, uneven response, noise floor, smear, roughness and a small delay; (B, M, T) log10 amplitudes."""
    batch, bands, _ = mels.shape

    def draw(low: float, high: float) -> torch.Tensor:
        return uniform(generator, (batch, 1, 1), low, high)

    delays = draw(-3, 4).flatten().int().tolist()
    mels = torch.stack([delayed(mel, delay) for mel, delay in zip(mels, delays, strict=True)])
    response = F.interpolate(torch.randn((batch, 1, 6), generator=generator), bands, mode="linear").mT  # (B, M, 1)
    mels = mels + draw(-0.5, 0.3) + draw(-0.25, 0.25) * torch.linspace(-1, 1, bands)[:, None] + draw(0, 0.1) * response
    floor = 10 ** draw(-4, -1.2) * torch.rand(mels.shape, generator=generator).mul(2).clamp_min(0.1)
    mels = torch.log10(10**mels + floor)
    smeared = F.avg_pool2d(mels[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    mels = mels + draw(0, 1) * (smeared - mels)
    return mels + draw(0, 0.12) * torch.randn(mels.shape, generator=generator)


def delayed(mel: torch.Tensor, frames: int) -> torch.Tensor:
    """(M, T) moved later (or, below zero, earlier) in time; what comes in is silent."""
    moved = torch.full_like(mel, -4.0)
    end = mel.shape[1]
    moved[:, max(0, frames) : end + min(0, frames)] = mel[:, max(0, -frames) : end - max(0, frames)]
    return moved


def through_mel(waves: torch.Tensor, rounds: int = 12) -> torch.Tensor:
    """(B, N) to 64 mel bands and back, phases found by Griffin and Lim's alternation from a fixed start."""
    window = torch.hann_window(1024)
    amplitude = torch.stft(waves, 1024, 250, window=window, return_complex=True).abs()  # (B, 513, T)
    filters = mel_filters()
    mel = torch.einsum("bft,fm->bmt", amplitude, filters)
    amplitude = torch.einsum("bmt,mf->bft", mel, torch.linalg.pinv(filters)).clamp_min(0)
    phase = torch.rand(amplitude.shape, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    spectrum = torch.polar(amplitude, phase)
    for _ in range(rounds):
        wave = torch.istft(spectrum, 1024, 250, window=window, length=waves.shape[1])
        phase = torch.stft(wave, 1024, 250, window=window, return_complex=True).angle()
        spectrum = torch.polar(amplitude, phase)
    return torch.istft(spectrum, 1024, 250, window=window, length=waves.shape[1])
