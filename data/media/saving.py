"""Media files are written here: PNG, WAV (16 bits), MP4 (H.264 that browsers play) and NPY."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.atomic import atomic_file
from data.media.loading import MediaError, Medium
from data.modalities import get_modality


def save_medium(medium: Medium, path: str | os.PathLike[str], *, upscale: int = 1, repeat: int = 1) -> Path:
    """Write ``medium`` atomically in the one format of its modality; returns the path.

    For a video, ``upscale`` enlarges each frame that many times and ``repeat`` shows it that many times, at as many
    times the rate: small, slow videos look better so in a player. MediaError if the extension is not the medium's.
    """
    path = Path(path)
    try:
        suffix = get_modality(medium.modality).suffix
    except ValueError as error:
        raise MediaError(str(error)) from None
    if path.suffix.lower() != suffix:
        raise MediaError(f"{path.name}: {medium.modality} is written as {suffix} only")
    with atomic_file(path) as temporary:
        if suffix == ".mp4":
            _write_video(medium, temporary, upscale, repeat)
        else:
            {".png": _write_image, ".wav": _write_audio, ".npy": _write_array}[suffix](medium, temporary)
    return path


def _write_image(medium: Medium, path: Path) -> None:
    from PIL import Image

    Image.fromarray(medium.array).save(path, format="PNG")


def _write_audio(medium: Medium, path: Path) -> None:
    import soundfile

    samples = np.clip(medium.array, -1.0, 1.0)  # (N,)
    soundfile.write(path, samples, int(medium.rate or 16_000), format="WAV", subtype="PCM_16")


def _write_array(medium: Medium, path: Path) -> None:
    np.save(path, medium.array.astype(get_modality(medium.modality).dtype), allow_pickle=False)


def _write_video(medium: Medium, path: Path, upscale: int, repeat: int) -> None:
    import av

    frames = medium.array  # (F, H, W, 3)
    height, width = frames.shape[1] * upscale, frames.shape[2] * upscale
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # 4:2:0 wants even sides
    rate = Fraction(medium.rate or 4).limit_denominator(1000) * repeat
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for array in np.repeat(frames, repeat, axis=0):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            enlarged = frame.reformat(stream.width, stream.height, format="yuv420p", interpolation="BICUBIC")
            container.mux(stream.encode(enlarged))
        container.mux(stream.encode())
