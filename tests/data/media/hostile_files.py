"""Files that mean harm, or are broken: what the door for media is tried with. Deterministic by seed."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

MEDIA_SUFFIXES = (".png", ".jpg", ".gif", ".webp", ".wav", ".flac", ".ogg", ".mp4", ".mkv", ".npy")


@dataclass(frozen=True)
class Hostile:
    """A file, what is wrong with it, and whether it may be taken in all the same: then it does no harm."""

    path: Path
    kind: str
    harmless: bool


Made = tuple[str, bytes]  # suffix and content
Maker = Callable[[np.random.Generator], Made]


# ---------------------------------------------------------------------------------------------------------------------
# Sound ones, to break


@lru_cache(maxsize=32)
def intact_file(suffix: str) -> bytes:
    """A small file of this format that is taken in."""
    rng = np.random.default_rng(0)
    target = io.BytesIO()
    if suffix in (".png", ".jpg", ".webp", ".gif", ".bmp", ".tif"):
        form = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(target, form)
    elif suffix in (".wav", ".flac", ".ogg"):
        noise = 0.1 * rng.normal(size=16_000).clip(-3, 3)
        soundfile.write(target, noise, 16_000, format=suffix[1:].upper())
    elif suffix == ".npy":
        np.save(target, rng.normal(size=(64, 3)).astype(np.float32))
    else:
        form, codec = {".mp4": ("mp4", "libx264"), ".mkv": ("matroska", "libx264"), ".avi": ("avi", "mpeg4")}[suffix]
        with av.open(target, "w", format=form) as container:
            stream = container.add_stream(codec, rate=10)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(12):
                frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return target.getvalue()


INTACT = (".png", ".jpg", ".webp", ".gif", ".bmp", ".tif", ".wav", ".flac", ".ogg", ".npy", ".mp4", ".mkv", ".avi")


def truncated(rng: np.random.Generator) -> Made:
    suffix = str(rng.choice(INTACT))
    content = intact_file(suffix)
    return suffix, content[: int(len(content) * rng.uniform(0.15, 0.85))]


def damaged(rng: np.random.Generator) -> Made:
    """Some bytes behind the first are others."""
    suffix = str(rng.choice(INTACT))
    content = bytearray(intact_file(suffix))
    for at in rng.integers(16, len(content), 1 + len(content) // 400):
        content[at] = rng.integers(256)
    return suffix, bytes(content)


def mislabelled(rng: np.random.Generator) -> Made:
    held, said = rng.choice([".png", ".jpg", ".wav", ".mp4", ".npy", ".gif", ".flac"], 2, replace=False)
    return str(said), intact_file(str(held))


def start_and_noise(rng: np.random.Generator) -> Made:
    suffix = str(rng.choice(INTACT))
    return suffix, intact_file(suffix)[: int(rng.integers(12, 40))] + rng.bytes(int(rng.integers(1, 4000)))


# ---------------------------------------------------------------------------------------------------------------------
# Too much


def png(width: int, height: int, content: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A grey PNG of 8 bits with ``content`` as its compressed rows."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", content), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def picture_bomb(rng: np.random.Generator) -> Made:
    """Few bytes that say, or are, very many pixels."""
    side, whole = int(rng.integers(20_000, 32_000)), struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
    gif = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"," + whole + b"\x02\x02\x44\x01\x00;"
    webp = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2
    bmp = struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    bombs: list[Made] = [
        (".png", png(side, side, _zeros(50_000_000))),
        (".png", png(2**31 - 1, 2**31 - 1, b"")),
        (".gif", gif),
        (".webp", b"RIFF" + struct.pack("<I", len(webp)) + webp),
        (".tif", _tiff(side, side)),
        (".bmp", b"BM" + bmp),
    ]
    return bombs[int(rng.integers(len(bombs)))]


@lru_cache(maxsize=1)
def _zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def _tiff(width: int, height: int) -> bytes:
    """One strip of zeros, compressed, that claims the whole picture."""
    strip = zlib.compress(bytes(1000))
    entries = (
        (256, width),
        (257, height),
        (258, 8),
        (259, 8),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(strip)),
    )
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(entries)) + table + bytes(4)


def very_wide(rng: np.random.Generator) -> Made:
    width = int(rng.integers(100_000, 120_000))
    size = (width, 1) if rng.random() < 0.5 else (1, width)
    return ".png", png(*size, zlib.compress(bytes((size[0] + 1) * size[1])))


def hours_of_sound(rng: np.random.Generator) -> Made:
    if rng.random() < 0.5:
        return ".flac", _silent_flac()
    length, rate = 36_000 * 100, 100  # 8 bits, ten hours
    return ".wav", wave_head(length, rate) + bytes(length)


def wave_head(length: int, rate: int) -> bytes:
    """The head of a WAV file of ``length`` samples of 8 bits."""
    shape = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8)
    return b"RIFF" + struct.pack("<I", length + 36) + b"WAVEfmt " + shape + b"data" + struct.pack("<I", length)


@lru_cache(maxsize=1)
def _silent_flac() -> bytes:
    """Ten hours in few bytes."""
    target = io.BytesIO()
    with soundfile.SoundFile(target, "w", 100, 1, format="FLAC") as file:
        for _ in range(36):
            file.write(np.zeros(100_000, np.int16))
    return target.getvalue()


def too_many_points(rng: np.random.Generator) -> Made:
    count = int(rng.integers(10**8, 10**12))
    npy = {"descr": "<f4", "fortran_order": False, "shape": (count, 3)}
    head = str(npy).encode().ljust(117) + b"\n"
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    ply = f"ply\nformat ascii 1.0\nelement vertex {count}\n{axes}end_header\n1 2 3\n"
    if rng.random() < 0.5:
        return ".ply", ply.encode()
    return ".npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head


# ---------------------------------------------------------------------------------------------------------------------
# Something else


def page_or_drawing(rng: np.random.Generator) -> Made:
    content = [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><svg>&b;</svg>',
        b"<!doctype html><script>fetch('http://127.0.0.1')</script>",
        b"<html><body><img src=x onerror=alert(1)></body></html>",
    ][int(rng.integers(4))]
    return str(rng.choice(MEDIA_SUFFIXES)), content


def archive_or_program(rng: np.random.Generator) -> Made:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(100_000))
    content = [
        *(target.getvalue(), gzip.compress(bytes(100_000)), json.dumps({"a": 1}).encode(), b"#!/bin/sh\nid\n"),
        *(start + rng.bytes(500) for start in (b"\x7fELF\x02\x01\x01", b"MZ", b"%PDF-1.7\n")),
    ]
    return str(rng.choice([*MEDIA_SUFFIXES, ""])), content[int(rng.integers(len(content)))]


def playlist(rng: np.random.Generator) -> Made:
    """What makes FFmpeg open other files and addresses where it may guess the format."""
    content = [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        b"[playlist]\nFile1=http://127.0.0.1:9/a.mp3\nNumberOfEntries=1\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        b"1\n00:00:00,000 --> 00:00:01,000\nsubtitles\n",
    ][int(rng.integers(6))]
    return str(rng.choice([".mp4", ".mkv", ".wav", ".mp3", ".ogg", ".avi", ".aac", "", ".m3u8", ".srt"])), content


def pickle_in_an_array(_: np.random.Generator) -> Made:
    target = io.BytesIO()
    np.save(target, np.array([{"a": print}], dtype=object), allow_pickle=True)
    return ".npy", target.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# Nothing, or no number


def no_frames(rng: np.random.Generator) -> Made:
    empty = io.BytesIO()
    np.save(empty, np.zeros((0, 3), np.float32))
    return [
        (".gif", b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b";"),
        (".wav", wave_head(0, 8000)),
        (".npy", empty.getvalue()),
        (".mp4", struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom") + struct.pack(">I4s", 8, b"moov")),
        (".png", png(0, 0, zlib.compress(b""))),
        (str(rng.choice(MEDIA_SUFFIXES)), b""),
    ][int(rng.integers(6))]


def no_numbers(rng: np.random.Generator) -> Made:
    values = np.full((4000, 3), [np.nan, np.inf, -np.inf][int(rng.integers(3))], np.float32)
    target = io.BytesIO()
    if rng.random() < 0.5:
        soundfile.write(target, values[:, 0], 8000, format="WAV", subtype="FLOAT")
        return ".wav", target.getvalue()
    np.save(target, values)
    return ".npy", target.getvalue()


def odd_extras(rng: np.random.Generator) -> Made:
    """A good picture with a colour profile of noise, or with text that swells when it is read."""
    rows = zlib.compress(bytes(9 * 8))
    if rng.random() < 0.5:
        return ".png", png(8, 8, rows, (b"iCCP", b"junk\0\0" + zlib.compress(rng.bytes(3000))))
    return ".png", png(8, 8, rows, (b"zTXt", b"a\0\0" + _zeros(50_000_000)))


#: Makers and whether what they make may be taken in.
MAKERS: dict[Maker, bool] = {
    truncated: False,
    damaged: True,
    mislabelled: False,
    start_and_noise: True,
    picture_bomb: False,
    very_wide: False,
    hours_of_sound: False,
    too_many_points: False,
    page_or_drawing: False,
    archive_or_program: False,
    playlist: False,
    pickle_in_an_array: False,
    no_frames: False,
    no_numbers: False,
    odd_extras: True,
}


def hostile_files(folder: Path, count: int, seed: int = 0) -> Iterator[Hostile]:
    """Write ``count`` files into ``folder``, the kinds in turn, each when it is asked for."""
    rng = np.random.default_rng(seed)
    makers = list(MAKERS.items())
    for number in range(count):
        maker, harmless = makers[number % len(makers)]
        suffix, content = maker(rng)
        path = folder / f"{number:04}-{maker.__name__}{suffix}"
        path.write_bytes(content)
        yield Hostile(path, maker.__name__, harmless)
