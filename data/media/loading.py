"""Media files from outside are read by :func:`load_medium`, and by nothing else.

Types are detected from content and must agree with the name; decoding is sandboxed: it happens in a process that can
be killed (:mod:`data.media.decoding`), under limits on bytes, pixels, frames, seconds, points, memory and time. URLs
are never fetched. Whatever is wrong is one :class:`MediaError` with a sentence a person can act on.
"""

import json
import math
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.media.decoding import ARRAY, environment
from data.media.file_formats import AUDIO_ONLY, FORMATS, format_of, promised
from data.modalities import modality_of_array


class MediaError(ValueError):
    """A file that cannot be read or written; the message is one sentence that names the file."""


@dataclass(frozen=True)
class Limits:
    """The most that is accepted from one file."""

    bytes: int = 128 * 2**20
    pixels: int = 64_000_000  # of an image or of one video frame, by its header
    side: int = 32_768  # pixels of either side
    image_side: int | None = None  # an image is resized to this many pixels on its long side; None = never
    frames: int = 32  # of a video: sampled evenly over its whole length
    frame_side: int = 512  # a video's frames are resized to this many pixels on their long side
    seconds: float = 120.0  # of audio or video
    points: int = 1_000_000
    memory: int = 3 * 2**30  # bytes of address space of the decoding process
    decode_seconds: float = 60.0


#: For untrusted uploads: what a chat needs, in little memory.
UPLOAD_LIMITS = Limits(
    bytes=64 * 2**20, pixels=32_000_000, image_side=1024, seconds=60.0, memory=3 * 2**29, decode_seconds=20.0
)


@dataclass(frozen=True, eq=False)
class Medium:
    """One image, video, audio clip, point cloud, or medium of another entry of ``data.modalities.MODALITIES``.

    ``array`` has the shape and type that the entry of ``modality`` states: image uint8 (H, W, 3); video uint8
    (F, H, W, 3); audio float32 (N,) mono in [-1, 1]; points float32 (N, 3) in the file's own units. ``rate`` is frames
    or samples a second, None for media without time. ``source`` says where it came from, for display.
    """

    modality: str
    array: np.ndarray
    rate: float | None = None
    source: str = ""


#: Samples of floating point up to this are taken for overs, and all are scaled down.
MAX_OVER = 4.0
#: (file, format, limits) -> what a decoding process writes: decode_in_new_process, or DecodingPool.decode.
Decode = Callable[[BinaryIO, str, Limits], bytes]


def load_medium(path: str | os.PathLike[str], limits: Limits = Limits(), decode: Decode | None = None) -> Medium:
    """The medium in the file at ``path``. MediaError, with one sentence, for any file that is refused.

    ``decode`` serves callers that read many files: :func:`data.media.decoding_pool.decode_in_pool`, or their own pool.
    """
    path = Path(path)
    with _open(path, limits) as file:
        return _load(path, file, limits, decode or decode_in_new_process)


def load_bytes(name: str, content: bytes, limits: Limits = Limits(), decode: Decode | None = None) -> Medium:
    """As :func:`load_medium` for a file in memory, a member of an archive for example, called ``name``."""
    path = Path(name)
    _check_size(path, len(content), limits)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(content)
        file.seek(0)
        return _load(path, file, limits, decode or decode_in_new_process)


def check_format(path: str | os.PathLike[str], limits: Limits = Limits()) -> None:
    """Refuse a file that is missing, too large, mislabelled or of an unknown format, without decoding it."""
    with _open(Path(path), limits) as file:
        _check_format(Path(path), file)


def _load(path: Path, file: BinaryIO, limits: Limits, decode: Decode) -> Medium:
    """The medium in ``file``, which is open, at its beginning and without a buffer."""
    form = _check_format(path, file)
    header, body = _decoded(path, file, form, limits, decode)
    modality = header["modality"]
    if path.suffix.lower() in AUDIO_ONLY and modality == "video":
        raise MediaError(f"{path.name} is mislabelled: its name promises sound, but it holds a video")
    array = np.frombuffer(body, header["dtype"]).reshape(header["shape"])
    _check_finite(path, array)
    if modality == "audio":
        array = _in_range(path, array).mean(axis=1, dtype=np.float32)  # (N, channels) -> (N,)
    turned = np.rot90(array, k=header["turns"], axes=(1, 2)) if header["turns"] else array.copy()
    array = np.ascontiguousarray(turned)
    if modality == ARRAY:
        try:
            with np.errstate(over="ignore"):
                modality, array = modality_of_array(array)
        except ValueError as error:
            raise MediaError(f"{path.name} holds {error}") from None
        _check_finite(path, array)
    if array.size == 0:
        raise MediaError(f"{path.name} holds no {'points' if modality == 'points' else 'samples'}")
    return Medium(modality, array, header["rate"], str(path))


def _check_finite(path: Path, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise MediaError(f"{path.name} holds values that are not finite numbers")


def _in_range(path: Path, samples: np.ndarray) -> np.ndarray:
    """Samples between -1 and 1, of those that floating point can hold beyond: overs, or whole numbers of 16 bits."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak <= 1:
        return samples
    if peak <= MAX_OVER:
        return samples / peak
    full = next((2.0**bits for bits in (15, 23, 31) if peak <= 2.0**bits), None)
    if full is None or (samples != np.rint(samples)).any():
        raise MediaError(f"{path.name} holds samples up to {peak:g}, expected -1 to 1: normalise it first")
    return samples / full


def _open(path: Path, limits: Limits) -> BinaryIO:
    """``path``, opened for reading, once it is known to be a file of an acceptable size."""
    if "://" in str(path) or str(path).startswith(("http:/", "https:/")):
        raise MediaError(f"{path} is an address, and addresses are not fetched: download the file first")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MediaError(f"{path} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"{path} is a device or a pipe, not a file")
        _check_size(path, status.st_size, limits)
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise MediaError(f"there is no file {path}") from None
    except MediaError:
        raise
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _check_size(path: Path, size: int, limits: Limits) -> None:
    if size == 0:
        raise MediaError(f"{path.name} is empty")
    if size > limits.bytes:
        found, allowed = (f"{count / 2**20:,.0f} MiB" for count in (size, limits.bytes))
        raise MediaError(f"{path.name} has {found}, more than the {allowed} allowed")


def _check_format(path: Path, file: BinaryIO) -> str:
    """The format of the content, which must be the one that the extension promises."""
    try:
        expected = promised(path)
    except ValueError as error:
        raise MediaError(str(error)) from None
    found = format_of(file)
    if found is None:
        wanted = f", although its name promises {expected}" if expected else ""
        what = f"of no format read here, or damaged at its start{wanted}"
        raise MediaError(f"{path.name} is {what}: convert it, for example to PNG, WAV or MP4")
    if expected and expected != found:
        suffix = next(iter(FORMATS[found].suffixes.values())).split()[0]
        remedy = "" if found == "text" else f"; if that is meant, rename it to {path.stem}{suffix}"
        raise MediaError(f"{path.name} is mislabelled: its name promises {expected}, but it holds {found}{remedy}")
    if expected is None and found == "text":
        raise MediaError(f"{path.name} holds text without an extension, and is no picture, sound, video or point cloud")
    return found


def decode_in_new_process(file: BinaryIO, form: str, limits: Limits) -> bytes:
    """What a decoding process that reads ``file`` as its standard input writes: a line of JSON, then raw bytes.

    TimeoutError and ChildProcessError, with the reason, where it ends before it has written.
    """
    command = [sys.executable, "-m", "data.media.decoding", form, json.dumps(asdict(limits))]
    try:
        done = subprocess.run(
            command, stdin=file, capture_output=True, env=environment(), timeout=limits.decode_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    if not done.stdout:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ChildProcessError(reason[0])
    return done.stdout


def _decoded(path: Path, file: BinaryIO, form: str, limits: Limits, decode: Decode) -> tuple[dict, memoryview]:
    """Header and raw array of ``file``. MediaError for whatever a decoder finds wrong, or goes wrong with it."""
    try:
        content = decode(file, form, limits)
    except TimeoutError:
        raise MediaError(f"{path.name} took more than {limits.decode_seconds:g} s to decode and was given up") from None
    except ChildProcessError as error:
        raise MediaError(f"{path.name} cannot be decoded: the decoder stopped ({error})") from None
    line, _, _ = content.partition(b"\n")
    body = memoryview(content)[len(line) + 1 :]
    try:
        header = json.loads(line)
        complete = "error" in header or len(body) == math.prod(header["shape"]) * np.dtype(header["dtype"]).itemsize
    except ValueError:
        complete = False
    if not complete:
        raise MediaError(f"{path.name} cannot be decoded: the decoder stopped while it wrote")
    if "error" in header:
        raise MediaError(f"{path.name} {header['error']}")
    return header, body
