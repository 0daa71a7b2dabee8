"""Small media files of every format, for the tests of the package data.media."""

from fractions import Fraction

import av
import numpy as np
import pytest

from data.media.loading import Limits, MediaError, load_medium

PLY = (
    "ply\nformat {} 1.0\ncomment made here\nelement vertex 2\nproperty float x\nproperty uchar red\nproperty float y\n"
)
PLY += "property double z\nelement face 0\nproperty list uchar int vertex_indices\nend_header\n"
TONE = (0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.float32)  # (16000,), one second
DEFAULT = Limits()


def smooth_image(height=60, width=80):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, 128 + 0 * rows], axis=-1).astype(np.uint8)


def numbered_video(count=8, size=64):
    """uint8 (count, size, size, 3), each frame of a grey that tells its number."""
    return np.stack([np.full((size, size, 3), 10 + 200 * index // count, np.uint8) for index in range(count)])


def refusal(path, limits=DEFAULT, decode=None):
    with pytest.raises(MediaError) as caught:
        load_medium(path, limits, decode)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_stream(path, form, codec, frames=40):
    """``frames`` frames at 10 a second, or as long a tone, in the container ``form``."""
    with av.open(str(path), "w", format=form) as container:
        if codec in ("aac", "libopus"):
            stream = container.add_stream(codec, rate=48_000)
            frame = av.AudioFrame.from_ndarray(np.tile(TONE, 12)[None], format="flt", layout="mono")
            frame.sample_rate = 48_000
            size = stream.codec_context.frame_size or 960
            resampler = av.AudioResampler(stream.format, stream.layout, 48_000, frame_size=size)
            for piece in resampler.resample(frame) + resampler.resample(None):
                container.mux(stream.encode(piece))
        else:
            stream = container.add_stream(codec, rate=Fraction(10))
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            rng = np.random.default_rng(0)
            for array in numbered_video(frames):
                noisy = array // 2 + rng.integers(0, 100, array.shape, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(stream.encode())
    return path
