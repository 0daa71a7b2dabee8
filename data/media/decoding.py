"""Decoding of media files in a sandboxed process: ``python -m data.media.decoding FORMAT LIMITS < FILE``.

Standard output carries one JSON line, either ``{"modality", "rate", "dtype", "shape", "turns"}`` followed by the raw
array or ``{"error"}``. A process is started for every file, so it imports only what the format needs, and numpy, half
of the start-up time, for point clouds alone. It limits its own memory and may be killed at any time. Containers are
opened under the name of their format, so that a playlist cannot refer to other files.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from data.media.decoded import Decoded, Limits, check_pixels, check_seconds, sample_frames, shrunk_size
from data.media.file_formats import FORMATS, Refused, end_of_tags

#: The modality of an array whose medium is determined by its shape and type (data.modalities.modality_of_array).
ARRAY = "array"
#: Writers that stream cannot know how long a WAV file will be: they state nothing, or about the most that fits.
_UNKNOWN_BYTES = 2**30
#: An Ogg page is at most so long.
_PAGE_BYTES = 65_307


def decode(file: BinaryIO, form: str, limits: Limits) -> Decoded:
    """The medium in ``file``, whose bytes are of format ``form``; ``limits`` are the fields of ``Limits``."""
    if end_of_tags(file):
        file = io.BytesIO(file.read())  # not every demuxer of libav passes over tags
    _check_complete(file, form)
    if "image" in FORMATS[form].suffixes:
        from data.media.image_files import decode_image

        return decode_image(file, form, limits)
    if FORMATS[form].demuxer:
        return decode_stream(file, form, limits)
    from data.media.ply_files import read_ply
    from data.media.point_files import read_array, read_table

    array = {"NPY": read_array, "PLY": read_ply, "text": read_table}[form](file, limits["points"])
    return Decoded(ARRAY if form == "NPY" else "points", None, array.dtype.str, array.shape, array.tobytes())


def _check_complete(file: BinaryIO, form: str) -> None:
    """Refuse a truncated file of the formats that can be decoded to the end wherever they are cut."""
    length = file.seek(0, 2)
    if form == "WAV" and length + 1 < (stated := _wav_end(file)) < _UNKNOWN_BYTES:  # padding may be left out
        raise Refused(f"is truncated: {length:,} of {stated:,} bytes are there")
    if form == "Ogg":
        file.seek(max(0, length - 2 * _PAGE_BYTES))
        tail = file.read()
        page = tail[tail.rfind(b"OggS") :]
        if len(page) < 27 or 27 + page[26] + sum(page[27 : 27 + page[26]]) > len(page):
            raise Refused("is truncated: its last page is not whole")
    file.seek(0)


def _wav_end(file: BinaryIO) -> int:
    """Where the samples of a WAV file end by its own header; 0 where there are none."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return file.tell() + size
        file.seek(size + size % 2, 1)
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# Video, and audio where there is no video


def decode_stream(file: BinaryIO, form: str, limits: Limits) -> Decoded:
    """The first video stream as uint8 (F, H, W, 3), or else the first audio stream as float32 (N, channels)."""
    import av
    from av.stream import Disposition

    head = file.read(4096)
    file.seek(0)
    counted = b"Xing" in head or b"Info" in head  # the first frame of an MP3 file says how many there are
    container: Any  # PyAV's stubs do not know which kind of container a file object gives
    with av.open(file, format=FORMATS[form].demuxer, metadata_errors="replace") as container:
        covers = Disposition.attached_pic
        videos = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not videos and not container.streams.audio:
            raise Refused("holds neither video nor sound")
        stream = videos[0] if videos else container.streams.audio[0]
        guessed = form == "AAC" or (form == "MP3" and not counted)  # from the size of the file
        check_seconds(0.0 if guessed else (container.duration or 0) / av.time_base, limits)
        stated = 0.0 if guessed else _stated_seconds(container, stream)
        medium, seconds = (_decode_video if videos else _decode_audio)(container, stream, limits)
        if stated - seconds > max(0.1, 0.05 * stated):
            raise Refused(f"is truncated: {seconds:.1f} of {stated:.1f} s are there")
        return medium


def _stated_seconds(container: Any, stream: Any) -> float:
    """The duration of the stream by the headers; 0 where they state none."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _decode_video(container: Any, stream: Any, limits: Limits) -> tuple[Decoded, float]:
    """The video, its frames' long side at most ``limits["frame_side"]``, and its length in seconds."""
    check_pixels(stream.codec_context.width, stream.codec_context.height, limits)
    stream.thread_type = "AUTO"
    width = height = turns = 0  # of the first frame, and so of all

    def shrunk(frame: Any) -> Callable[[], Any]:
        nonlocal width, height, turns
        if not width:
            aspect = float(stream.sample_aspect_ratio or 1) or 1.0  # width of a pixel by its height
            width, height = shrunk_size(frame.width * aspect, frame.height, limits["frame_side"])
            turns = frame.rotation // 90
        return lambda: frame.reformat(width, height, format="rgb24", interpolation="AREA")

    timed = ((start, end, shrunk(frame)) for start, end, frame in _timed(container.decode(stream), stream))
    frames, rate, seconds = sample_frames(timed, float(stream.average_rate or 1), limits)
    body = b"".join(_rows(frame.planes[0], 3 * width) for frame in frames)
    return Decoded("video", rate, "uint8", (len(frames), height, width, 3), body, turns), seconds


def _timed(frames: Iterator[Any], stream: Any) -> Iterator[tuple[float, float, Any]]:
    """Each frame with its start and end in seconds, derived from the rate where the container states none."""
    step, first = float(1 / (stream.average_rate or 25)), None
    for index, frame in enumerate(frames):
        time = index * step if frame.time is None else frame.time
        first = time if first is None else first
        length = float(frame.duration * frame.time_base) if frame.duration else step
        yield time - first, time - first + length, frame


def _rows(plane: Any, length: int) -> bytes:
    """The bytes of a plane without the padding at the end of its rows."""
    data, step = bytes(plane), plane.line_size
    return data if step == length else b"".join(data[start : start + length] for start in range(0, len(data), step))


def _decode_audio(container: Any, stream: Any, limits: Limits) -> tuple[Decoded, float]:
    """The audio as float32 (N, channels) at the stream's own rate, and its length in seconds."""
    import av

    resampler = av.AudioResampler(format="flt")
    body, rate, width = bytearray(), float(stream.rate), 4 * stream.codec_context.layout.nb_channels
    for frame in container.decode(stream):
        for piece in resampler.resample(frame):
            body += bytes(piece.planes[0])[: width * piece.samples]
        check_seconds(len(body) / width / rate, limits)
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
    telling = isinstance(error, OSError | ValueError | SyntaxError) and not isinstance(error, UnicodeError)
    detail = str(getattr(error, "strerror", None) or error).strip().splitlines()[:1] if telling else []
    if not detail or type(error).__name__ == "UnidentifiedImageError":  # of Pillow, which names the object that it read
        return "is damaged, truncated or of a kind that is not read"
    return f"is damaged or truncated and cannot be decoded: {detail[0]}"


def answer(form: str, limits: Limits, target: BinaryIO) -> None:
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
