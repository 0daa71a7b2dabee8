"""The one door for media files: every file from outside comes in by :func:`load_medium`.

The format is told by the content and must agree with the name. Decoding happens in a process that can be killed
(:mod:`data.media.decoding`), under limits on bytes, pixels, frames, seconds, points, memory and time. Nothing is ever
fetched from an address. Whatever is wrong is one :class:`MediaError` with a sentence a person can act on.
"""

from __future__ import annotations

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
from data.media.file_formats import EXTENSIONS, SNIFFED_BYTES, promised, sniff
from data.modalities import modality_of_array


class MediaError(ValueError):
    """A file that cannot be taken in or written; the message is one sentence that names the file."""


@dataclass(frozen=True)
class Limits:
    """The most that is taken in from one file."""

    bytes: int = 128 * 2**20
    pixels: int = 64_000_000  # of a picture or of one video frame, by its header
    side: int = 32_768  # pixels of either side
    picture_side: int | None = None  # a picture is shrunk to this many pixels on its long side; None = it stays
    frames: int = 32  # of a video: sampled evenly over its whole length
    frame_side: int = 512  # a video's frames are shrunk to this many pixels on their long side
    seconds: float = 120.0  # of sound or video
    points: int = 1_000_000
    memory: int = 3 * 2**30  # bytes of address space of the decoding process
    decode_seconds: float = 60.0


#: For files of strangers: what a chat needs, in little memory.
UPLOAD_LIMITS = Limits(
    bytes=64 * 2**20, pixels=32_000_000, picture_side=1024, seconds=60.0, memory=3 * 2**29, decode_seconds=20.0
)


@dataclass(frozen=True, eq=False)
class Medium:
    """One image, video, audio clip, point cloud, or medium of another entry of ``data.modalities.MODALITIES``.

    ``array`` has the shape and type that the entry of ``modality`` states: image uint8 (H, W, 3); video uint8
    (F, H, W, 3); audio float32 (N,) mono in [-1, 1]; points float32 (N, 3) in the file's own units. ``rate`` is frames
    or samples a second, None for media without time. ``source`` is where it came from, for people to read.
    """

    modality: str
    array: np.ndarray
    rate: float | None = None
    source: str = ""


#: Bytes that a decoding process writes of a file of some format: decode_in_new_process, or DecodingPool.decode.
Decode = Callable[[BinaryIO, str, Limits], bytes]


def load_medium(path: str | os.PathLike[str], limits: Limits = Limits(), decode: Decode | None = None) -> Medium:
    """The medium in the file at ``path``. MediaError, with one sentence, for any file that is not taken in.

    ``decode`` is for who takes in many files: :func:`data.media.decoding_pool.decode_in_pool`, or a pool of one's own.
    """
    path = Path(path)
    with _open(path, limits) as file:
        return _load(path, file, limits, decode or decode_in_new_process)


def load_bytes(name: str, content: bytes, limits: Limits = Limits(), decode: Decode | None = None) -> Medium:
    """As :func:`load_medium` for a file that is not on a disk, a member of an archive for example, called ``name``."""
    path = Path(name)
    if not content:
        raise MediaError(f"{path.name} is empty")
    if len(content) > limits.bytes:
        raise MediaError(
            f"{path.name} has {_mebibytes(len(content))}, more than the {_mebibytes(limits.bytes)} allowed"
        )
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(content)
        file.seek(0)
        return _load(path, file, limits, decode or decode_in_new_process)


def check_format(path: str | os.PathLike[str], limits: Limits = Limits()) -> None:
    """Refuse a file that is missing, too large, mislabelled or of no format read here, without decoding it."""
    with _open(Path(path), limits) as file:
        _check_format(Path(path), file.read(SNIFFED_BYTES))


def _load(path: Path, file: BinaryIO, limits: Limits, decode: Decode) -> Medium:
    """The medium in ``file``, which is open, at its beginning and without a buffer."""
    form = _check_format(path, file.read(SNIFFED_BYTES))
    header, body = _decoded(path, file, form, limits, decode)
    if path.suffix.lower() in (".m4a", ".mka", ".oga", ".opus") and header["modality"] == "video":
        raise MediaError(f"{path.name} is mislabelled: its name promises sound, but it holds a video")
    array = np.frombuffer(body, header["dtype"]).reshape(header["shape"])
    if header["modality"] == "audio":
        array = array.mean(axis=1, dtype=np.float32)  # (N, channels) -> (N,)
    turned = np.rot90(array, k=header["turns"], axes=(1, 2)) if header["turns"] else array.copy()
    array = np.ascontiguousarray(turned)
    modality = header["modality"]
    if modality == ARRAY:
        try:
            modality, array = modality_of_array(array)
        except ValueError as error:
            raise MediaError(f"{path.name} holds {error}") from None
    if array.size == 0:
        raise MediaError(f"{path.name} holds no {'points' if modality == 'points' else 'samples'}")
    if not np.isfinite(array).all():
        raise MediaError(f"{path.name} holds values that are not finite numbers")
    return Medium(modality, array, header["rate"], str(path))


def _open(path: Path, limits: Limits) -> BinaryIO:
    """``path``, opened for reading, once it is known to be a file of a size worth opening."""
    if "://" in str(path) or str(path).startswith(("http:/", "https:/")):
        raise MediaError(f"{path} is an address, and addresses are not fetched: download the file first")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MediaError(f"{path} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"{path} is a device or a pipe, not a file")
        if status.st_size == 0:
            raise MediaError(f"{path.name} is empty")
        if status.st_size > limits.bytes:
            allowed = _mebibytes(limits.bytes)
            raise MediaError(f"{path.name} has {_mebibytes(status.st_size)}, more than the {allowed} allowed")
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise MediaError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _check_format(path: Path, head: bytes) -> str:
    """The format of the content, which must be the one that the extension promises."""
    try:
        expected = promised(path)
    except ValueError as error:
        raise MediaError(str(error)) from None
    found = sniff(head)
    if found is None or found == "HEIF":
        what = "HEIC or AVIF data, which is not read" if found else "of no format read here, or damaged at its start"
        wanted = f", although its name promises {expected}" if expected else ""
        raise MediaError(f"{path.name} is {what}{wanted}: convert it, for example to PNG, WAV or MP4")
    if expected and expected != found:
        better = next(suffix for suffix, form in EXTENSIONS.items() if form == found)
        remedy = "" if found == "text" else f"; if that is meant, rename it to {path.stem}{better}"
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
    try:
        header = json.loads(line)
    except ValueError:
        raise MediaError(f"{path.name} cannot be decoded: the decoder stopped while it wrote") from None
    if "error" in header:
        raise MediaError(f"{path.name} {header['error']}")
    body = memoryview(content)[len(line) + 1 :]
    if len(body) != math.prod(header["shape"]) * np.dtype(header["dtype"]).itemsize:
        raise MediaError(f"{path.name} cannot be decoded: the decoder stopped while it wrote")
    return header, body
