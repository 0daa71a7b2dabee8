"""Previews: an image, uint8 (H, W, 3), of the array of any medium, for pages and reports."""

import numpy as np
from PIL import Image

_CLOUD_SIDE, _PAPER, _INK = 288, (250, 250, 249), np.array([15.0, 118.0, 110.0])
_STRIP_FRAMES = 8
_WINDOW, _HOP = 512, 256  # samples of a spectrogram's windows


def image_preview(image: np.ndarray) -> np.ndarray:
    """An image is its own preview."""
    return image


def video_preview(frames: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) -> (H / 2, F W / 2, 3): at most eight frames, evenly chosen, at half size side by side."""
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), _STRIP_FRAMES)).round().astype(int)
    height, width = (max(1, side // 2) for side in frames.shape[1:3])
    return np.concatenate([np.asarray(Image.fromarray(frames[i]).resize((width, height))) for i in chosen], axis=1)


def audio_preview(wave: np.ndarray) -> np.ndarray:
    """(N,) -> (128, 256, 3): a logarithmic spectrogram, low notes at the bottom."""
    padded = np.pad(wave.astype(np.float32), (0, max(0, _WINDOW - len(wave))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    power = np.log10(np.abs(np.fft.rfft(windows)).T[::-1] ** 2 + 1e-8)  # (frequencies, T)
    bright = ((power - power.max() + 6) / 6).clip(0, 1)[..., None]
    colours = np.concatenate((bright**0.8, bright**1.6, 0.35 * bright**0.5 + 0.4 * bright**4), -1)
    return np.asarray(Image.fromarray((colours * 255).astype(np.uint8)).resize((256, 128)))


def points_preview(points: np.ndarray) -> np.ndarray:
    """(N, 3) with z upwards -> (288, 288, 3): seen a little from the side, near ones darker."""
    centred = points - (points.min(0) + points.max(0)) / 2
    centred = centred / max(float(np.linalg.norm(centred, axis=1).max()), 1e-9)  # (N, 3) in the unit ball
    across = 0.9 * centred[:, 0] + 0.44 * centred[:, 1]
    depth = 0.44 * centred[:, 0] - 0.9 * centred[:, 1]
    order = np.argsort(depth)  # far ones first
    columns = ((across * 0.44 + 0.5) * _CLOUD_SIDE).astype(int)[order]
    rows = ((0.5 - centred[:, 2] * 0.44) * _CLOUD_SIDE).astype(int)[order]
    nearness = (depth[order] * 0.5 + 0.5)[:, None]
    colours = (_INK * (0.3 + 0.7 * nearness) + np.array(_PAPER) * 0.7 * (1 - nearness)).astype(np.uint8)  # (N, 3)
    image = np.full((_CLOUD_SIDE, _CLOUD_SIDE, 3), _PAPER, np.uint8)
    radius = 2 if len(points) < 5000 else 1
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down**2 + right**2 <= radius**2 + 1:
                image[(rows + down).clip(0, _CLOUD_SIDE - 1), (columns + right).clip(0, _CLOUD_SIDE - 1)] = colours
    return image


def map_preview(values: np.ndarray) -> np.ndarray:
    """(H, W) of any range -> (H, W, 3): grey, the largest value white."""
    low, high = float(values.min()), float(values.max())
    grey = ((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
