"""Random damage to media as decoders do it: classifiers are to read what they show, not how cleanly it was rendered.

Shapes: B media, S pixels on a side, M mel bands, T mel frames, N audio samples.
"""

import torch
import torch.nn.functional as F

from evaluation.classifiers import mel_filters


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
    """Uniform random numbers in [low, high)."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def damage_pixels(pixels: torch.Tensor, generator: torch.Generator, groups: int) -> torch.Tensor:
    """Shift, blur, blotches, noise, colour and contrast changes, block compression; (B, 3, S, S) in 0..255.

    The B images form ``groups`` videos: what belongs to a video (shift, colours, blur) is drawn once for each.
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
    """(B, 3, S, S) scaled by ``scale`` (B,) and moved by ``shift`` (B, 2), in half images; edges continue."""
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
