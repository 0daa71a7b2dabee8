"""Decoding of media files in a sandboxed process: ``python -m data.media.decoding FORMAT LIMITS < FILE``.

Standard output carries one JSON line, either ``{"modality", "rate", "dtype", "shape", "turns"}`` followed by the raw
array or ``{"error"}``. A process is started for every file, so it imports only what the format needs, and numpy, half
of the start-up time, for point clouds alone. It limits its own memory and may be killed at any time. Containers are
opened under the name of their format, so that a playlist cannot refer to other files.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from data.media.file_formats import FORMATS, Refused

#: The modality of an array whose medium is determined by its shape and type (data.modalities.modality_of_array).
ARRAY = "array"
#: Formats that state no duration: libav estimates it from the size of the file.
_WITHOUT_DURATION = ("MP3", "AAC")


class Decoded(NamedTuple):
    """A medium as raw bytes. Audio still has its channels, and a video is to be rotated by ``turns`` quarters."""

    modality: str
    rate: float | None
    dtype: str
    shape: tuple[int, ...]
    body: bytes
    turns: int = 0


def decode(file: BinaryIO, form: str, limits: dict[str, Any]) -> Decoded:
    """The medium in ``file``, whose bytes are of format ``form``; ``limits`` are the fields of ``Limits``."""
    _check_complete(file, form)
    if "image" in FORMATS[form].suffixes:
        return decode_image(file, form, limits)
    if FORMATS[form].demuxer:
        return decode_stream(file, form, limits)
    from data.media.point_files import read_array, read_points

    if form == "NPY":
        array = read_array(file, limits["points"])
        return Decoded(ARRAY, None, array.dtype.str, array.shape, array.tobytes())
    points = read_points(file, form, limits["points"])  # (N, 3)
    return Decoded("points", None, "float32", points.shape, points.tobytes())


def _check_complete(file: BinaryIO, form: str) -> None:
    """Refuse a truncated file of the formats whose decoders would not notice."""
    head, length = file.read(8192), file.seek(0, 2)
    file.seek(max(0, length - 2**16))
    tail = file.read()
    file.seek(0)
    stated = _stated_bytes(head, form)
    if length < stated - 1:  # some writers omit the last byte of padding
        raise Refused(f"is truncated: {length:,} of {stated:,} bytes are there")
    last_page = tail.rfind(b"OggS")
    if form == "Ogg" and (last_page < 0 or not tail[last_page + 5] & 4):  # the mark of a stream's last page
        raise Refused("is truncated: its last page is missing")
    if form == "GIF" and not tail.rstrip(b"\0").endswith(b";"):
        raise Refused("is truncated: its end mark is missing")


def _stated_bytes(head: bytes, form: str) -> int:
    """The length of the file by its own header; 0 where it states none."""
    if form in ("WAV", "AVI", "WebP", "AIFF"):
        size = int.from_bytes(head[4:8], "big" if form == "AIFF" else "little")
        return 0 if size == 0xFFFFFFFF else size + 8  # recorders that stream write 0 or the maximum
    tag = max(head.find(b"Xing"), head.find(b"Info"))
    if form != "MP3" or tag < 0 or not head[tag + 7] & 2:
        return 0
    at = tag + 8 + 4 * (head[tag + 7] & 1)
    return int.from_bytes(head[at : at + 4], "big")


# ---------------------------------------------------------------------------------------------------------------------
# Images


def decode_image(file: BinaryIO, form: str, limits: dict[str, Any]) -> Decoded:
    """uint8 (H, W, 3): orientation applied, transparency over white. An animated GIF is a video."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the limit below replaces it
    with Image.open(file, formats=[form.upper()]) as image:
        _check_pixels(image.width, image.height, limits)
        if form == "GIF" and getattr(image, "n_frames", 1) > 1:
            file.seek(0)
            return decode_stream(file, form, limits)
        if image.mode.startswith("I"):  # 16 bits a sample, which a conversion to RGB would clip
            image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
        image = ImageOps.exif_transpose(image)
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if limits["image_side"]:
            image.thumbnail((limits["image_side"],) * 2, reducing_gap=2.0)
        return Decoded("image", None, "uint8", (image.height, image.width, 3), image.convert("RGB").tobytes())


def _check_pixels(width: int, height: int, limits: dict[str, Any]) -> None:
    if max(width, height) > limits["side"]:
        raise Refused(f"is {width} x {height} pixels, and no side may have more than {limits['side']:,}")
    if width * height > limits["pixels"]:
        allowed = limits["pixels"] / 1e6
        raise Refused(
            f"has {width} x {height} pixels, more than the {allowed:g} million allowed: make it smaller first"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Video, and audio where there is no video


def decode_stream(file: BinaryIO, form: str, limits: dict[str, Any]) -> Decoded:
    """The first video stream as uint8 (F, H, W, 3), or else the first audio stream as float32 (N, channels)."""
    import av
    from av.stream import Disposition

    container: Any  # PyAV's stubs do not know which kind of container a file object gives
    with av.open(file, format=FORMATS[form].demuxer) as container:
        if container.duration and form not in _WITHOUT_DURATION:
            _check_seconds(container.duration / av.time_base, limits)
        covers = Disposition.attached_pic
        videos = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not videos and not container.streams.audio:
            raise Refused("holds neither video nor sound")
        stream = videos[0] if videos else container.streams.audio[0]
        stated = 0.0 if form in _WITHOUT_DURATION else _stated_seconds(container, stream)
        medium, seconds = (_decode_video if videos else _decode_audio)(container, stream, limits)
        if stated - seconds > max(0.1, 0.05 * stated):
            raise Refused(f"is truncated: {seconds:.1f} of {stated:.1f} s are there")
        return medium


def _stated_seconds(container: Any, stream: Any) -> float:
    """The duration of the stream by the headers; 0 where they state none."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _check_seconds(seconds: float, limits: dict[str, Any]) -> None:
    if seconds > limits["seconds"]:
        raise Refused(f"lasts {seconds:,.0f} s or more, and at most {limits['seconds']:g} s are read: cut it first")


def _decode_video(container: Any, stream: Any, limits: dict[str, Any]) -> tuple[Decoded, float]:
    """The video and its length in seconds.

    At most ``limits["frames"]`` frames, evenly over the whole length, their long side at most ``frame_side``.
    """
    _check_pixels(stream.codec_context.width, stream.codec_context.height, limits)
    stream.thread_type = "AUTO"
    kept: list[tuple[float, Any]] = []  # every stride-th frame, at most twice as many as are returned
    width = height = turns = 0  # of the first frame, and so of all
    stride, end = 1, 0.0
    for index, (start, end, frame) in enumerate(_timed(container.decode(stream), stream)):
        _check_seconds(end, limits)
        if index == 0:
            (width, height), turns = _shrunk_size(frame, limits["frame_side"]), frame.rotation // 90
        if index % stride == 0:
            kept.append((start, frame.reformat(width, height, format="rgb24", interpolation="AREA")))
        if len(kept) == 2 * limits["frames"]:
            kept, stride = kept[::2], 2 * stride
    if not kept:
        raise Refused("holds no frames, or is truncated before the first one")
    count = min(len(kept), limits["frames"])
    chosen = [kept[round(index * (len(kept) - 1) / max(1, count - 1))] for index in range(count)]
    span = chosen[-1][0] - chosen[0][0]
    rate = (count - 1) / span if span > 0 else float(stream.average_rate or 1)
    body = b"".join(_rows(frame.planes[0], 3 * width) for _, frame in chosen)
    return Decoded("video", round(rate, 6), "uint8", (count, height, width, 3), body, turns), end


def _timed(frames: Iterator[Any], stream: Any) -> Iterator[tuple[float, float, Any]]:
    """Each frame with its start and end in seconds, derived from the rate where the container states none."""
    step, first = float(1 / (stream.average_rate or 25)), None
    for index, frame in enumerate(frames):
        time = index * step if frame.time is None else frame.time
        first = time if first is None else first
        length = float(frame.duration * frame.time_base) if frame.duration else step
        yield time - first, time - first + length, frame


def _shrunk_size(frame: Any, side: int) -> tuple[int, int]:
    """Width and height of ``frame`` with its long side at most ``side``."""
    scale = min(1.0, side / max(frame.width, frame.height))
    return max(1, round(frame.width * scale)), max(1, round(frame.height * scale))


def _rows(plane: Any, length: int) -> bytes:
    """The bytes of a plane without the padding at the end of its rows."""
    data, step = bytes(plane), plane.line_size
    return data if step == length else b"".join(data[start : start + length] for start in range(0, len(data), step))


def _decode_audio(container: Any, stream: Any, limits: dict[str, Any]) -> tuple[Decoded, float]:
    """The audio as float32 (N, channels) at the stream's own rate, and its length in seconds."""
    import av

    resampler = av.AudioResampler(format="flt")
    body, rate, width = bytearray(), float(stream.rate), 4 * stream.codec_context.layout.nb_channels
    for frame in container.decode(stream):
        for piece in resampler.resample(frame):
            body += bytes(piece.planes[0])[: width * piece.samples]
        _check_seconds(len(body) / width / rate, limits)
    return Decoded("audio", rate, "float32", (len(body) // width, width // 4), bytes(body)), len(body) / width / rate


# ---------------------------------------------------------------------------------------------------------------------
# The process


def bound_memory(limit: int) -> None:
    """Limit the address space of this process to ``limit`` bytes, on systems that support it."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def sentence(error: Exception) -> str:
    """What is wrong with the file, of an error raised here or by a decoding library."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, MemoryError):
        return "needs more memory to decode than is allowed"
    detail = str(getattr(error, "strerror", None) or error).strip().splitlines()[:1] or [type(error).__name__]
    return f"is damaged or truncated and cannot be decoded: {detail[0]}"


def answer(form: str, limits: dict[str, Any], target: BinaryIO) -> None:
    """Decode the standard input and write a line of JSON, then the medium's bytes."""
    bound_memory(limits["memory"])
    body = b""
    try:
        with open(0, "rb", closefd=False) as file, contextlib.redirect_stdout(sys.stderr):
            file.seek(0)
            header = decode(file, form, limits)._asdict()
        body = header.pop("body")
    except Exception as error:  # whatever a decoder raises becomes a sentence
        header = {"error": sentence(error)}
    target.write(json.dumps(header).encode() + b"\n")
    target.write(body)
    target.flush()


def environment() -> dict[str, str]:
    """Environment of a decoding process: this package can be imported, and OpenBLAS starts no threads."""
    paths = (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1"}


if __name__ == "__main__":
    answer(sys.argv[1], json.loads(sys.argv[2]), sys.stdout.buffer)
