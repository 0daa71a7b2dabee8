"""What a decoder returns, the limits that it keeps on the way, and which frames it keeps of a video."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from data.media.file_formats import Refused

Limits = dict[str, Any]  # the fields of data.media.loading.Limits


class Decoded(NamedTuple):
    """A medium as raw bytes. Audio still has its channels, and a video is to be rotated by ``turns`` quarters."""

    modality: str
    rate: float | None
    dtype: str
    shape: tuple[int, ...]
    body: bytes
    turns: int = 0


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Refused for more pixels than are allowed."""
    if max(width, height) > limits["side"]:
        raise Refused(f"is {width} x {height} pixels, and no side may have more than {limits['side']:,}")
    if width * height > limits["pixels"]:
        allowed = limits["pixels"] / 1e6
        raise Refused(
            f"has {width} x {height} pixels, more than the {allowed:g} million allowed: make it smaller first"
        )


def check_seconds(seconds: float, limits: Limits) -> None:
    """Refused for a longer medium than is allowed."""
    if seconds > limits["seconds"]:
        raise Refused(f"lasts {seconds:,.0f} s or more, and at most {limits['seconds']:g} s are read: cut it first")


def shrunk_size(width: float, height: float, side: int) -> tuple[int, int]:
    """Width and height with the longer of them at most ``side``."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def sample_frames(
    timed: Iterable[tuple[float, float, Callable[[], Any]]], rate: float, limits: Limits
) -> tuple[list[Any], float, float]:
    """Of frames (start, end, how to get it) at most ``limits["frames"]``, evenly over the whole length.

    Returns them, how many there are a second (``rate`` where their times do not tell), and the end of the last one.
    """
    kept: list[tuple[float, Any]] = []  # every stride-th frame, at most twice as many as are returned
    stride, end = 1, 0.0
    for index, (start, end, frame) in enumerate(timed):
        check_seconds(end, limits)
        if index % stride == 0:
            kept.append((start, frame()))
        if len(kept) == 2 * limits["frames"]:
            kept, stride = kept[::2], 2 * stride
    if not kept:
        raise Refused("holds no frames, or is truncated before the first one")
    count = min(len(kept), limits["frames"])
    chosen = [kept[round(index * (len(kept) - 1) / max(1, count - 1))] for index in range(count)]
    span = chosen[-1][0] - chosen[0][0]
    return [frame for _, frame in chosen], round((count - 1) / span if span > 0 else rate, 6), end
