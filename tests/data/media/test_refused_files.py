"""Files that are missing, mislabelled, truncated or too large are refused in one sentence."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from data.media.file_formats import sniff
from data.media.loading import Limits, Medium
from data.media.saving import save_medium
from tests.data.media.sample_files import PLY, TONE, numbered_video, refusal, smooth_image, write_stream


def test_missing_empty_and_not_a_file(tmp_path):
    assert "there is no file" in refusal(tmp_path / "none.png")
    (tmp_path / "empty.png").touch()
    assert refusal(tmp_path / "empty.png") == "empty.png is empty"
    assert "is a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    assert "a pipe" in refusal(tmp_path / "pipe.wav")
    assert "cannot be read" in refusal(tmp_path / ("x" * 300 + ".png"))
    assert "cannot be read" in refusal("a\0b.png")
    assert "is an address" in refusal("https://example.org/a.png")


def test_mislabelled(tmp_path):
    (tmp_path / "note.png").write_text("hello\n")
    assert refusal(tmp_path / "note.png") == "note.png is mislabelled: its name promises PNG, but it holds text"
    Image.fromarray(smooth_image()).save(tmp_path / "a.wav", format="PNG")
    message = refusal(tmp_path / "a.wav")
    assert "promises WAV, but it holds PNG" in message
    assert "rename it to a.png" in message
    save_medium(Medium("video", numbered_video(), 4.0), tmp_path / "a.mp4").rename(tmp_path / "b.m4a")
    assert "promises sound, but it holds a video" in refusal(tmp_path / "b.m4a")
    (tmp_path / "a.docx").write_bytes(b"PK\3\4")
    assert ".docx files are not read" in refusal(tmp_path / "a.docx")
    (tmp_path / "noise.jpg").write_bytes(bytes(range(200, 256)) * 20)
    assert "of no format read here" in refusal(tmp_path / "noise.jpg")
    (tmp_path / "bare").write_text("hello")
    assert "text without an extension" in refusal(tmp_path / "bare")
    (tmp_path / "words.csv").write_text("some,words,here\n1,2,3\n")
    assert "not a point cloud" in refusal(tmp_path / "words.csv")


def truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif", ".gif"])
def test_truncated_images(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a{suffix}")
    assert "truncated" in refusal(truncated(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg", ".mp3"])
def test_truncated_audio(tmp_path, suffix):
    soundfile.write(tmp_path / f"a{suffix}", TONE, 16_000)
    assert "truncated" in refusal(truncated(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.webm", "webm", "libvpx"),
        ("a.mkv", "matroska", "libx264"),
        ("a.mp4", "mp4", "libx264"),
        ("a.avi", "avi", "mpeg4"),
    ],
)
def test_truncated_videos(tmp_path, name, form, codec):
    assert "truncated" in refusal(truncated(write_stream(tmp_path / name, form, codec)))
    fast = save_medium(Medium("video", numbered_video(), 4.0), tmp_path / "fast.mp4")
    assert "truncated" in refusal(truncated(fast))


def test_truncated_points(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((50, 3)))
    assert "truncated" in refusal(truncated(tmp_path / "a.npy"))
    for form, body in (("ascii", b"1 9 2 3\n"), ("binary_little_endian", struct.pack("<fBfd", 1, 9, 2, 3))):
        (tmp_path / "a.ply").write_bytes(PLY.format(form).encode() + body)
        assert "truncated" in refusal(tmp_path / "a.ply")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_an_image_of_20000_by_20000_is_refused_by_its_header(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    (tmp_path / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))))
    assert "20000 x 20000 pixels, more than the 64 million" in refusal(tmp_path / "big.png")


def test_an_hour_of_audio_is_refused(tmp_path):
    soundfile.write(tmp_path / "hour.wav", np.zeros(3600 * 8_000, np.int16), 8_000)
    assert "lasts 3,600 s" in refusal(tmp_path / "hour.wav")
    soundfile.write(tmp_path / "hour.mp3", np.zeros(300 * 8_000, np.int16), 8_000)  # states no length: found in reading
    assert "at most 120 s are read" in refusal(tmp_path / "hour.mp3")


def test_limits_on_bytes_points_seconds_memory_and_time(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.tile(TONE, 20), 16_000)
    assert "MiB allowed" in refusal(tmp_path / "a.wav", Limits(bytes=1000))
    assert "at most 3 s" in refusal(tmp_path / "a.wav", Limits(seconds=3))
    assert "given up" in refusal(tmp_path / "a.wav", Limits(decode_seconds=0.001))
    np.save(tmp_path / "a.npy", np.ones((50, 3)))
    assert "more than the 10 allowed" in refusal(tmp_path / "a.npy", Limits(points=10))
    Image.new("RGB", (7000, 7000)).save(tmp_path / "a.png")
    assert "more memory" in refusal(tmp_path / "a.png", Limits(memory=200 * 2**20))
    clip = write_stream(tmp_path / "a.mp4", "mp4", "libx264")
    assert "at most 2 s" in refusal(clip, Limits(seconds=2))
    assert "pixels" in refusal(clip, Limits(pixels=100))


def test_values_that_are_not_numbers_and_nothing_at_all(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.where(np.arange(16_000) == 5, np.nan, TONE), 16_000, subtype="FLOAT")
    assert refusal(tmp_path / "a.wav") == "a.wav holds values that are not finite numbers"
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, np.int16), 16_000)
    assert refusal(tmp_path / "zero.wav") == "zero.wav holds no samples"
    np.save(tmp_path / "a.npy", np.full((4, 3), np.inf))
    assert "finite" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((0, 3)))
    assert refusal(tmp_path / "a.npy") == "a.npy holds no points"
    (tmp_path / "a.ply").write_text(PLY.format("ascii").replace("vertex 2", "vertex 0"))
    assert refusal(tmp_path / "a.ply") == "a.ply holds no points"
    np.save(tmp_path / "a.npy", np.zeros((4, 2)))
    assert "shape (4, 2)" in refusal(tmp_path / "a.npy")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_a_pickle_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([[Trap()] * 3], dtype=object), allow_pickle=True)
    assert "type object, not of numbers" in refusal("a.npy")
    assert not Path("sprung").exists()


def test_a_playlist_is_not_followed(tmp_path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nfile.mp4\n")
    assert "it holds text" in refusal(tmp_path / "list.mp4")


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"\xff\xfb\x90\x00", "MP3"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"\xff\xff\xff\xff", None),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"BM is a word too", "text"),
        ("中文".encode() * 2000, "text"),
        (b"a\0b", None),
    ],
)
def test_first_bytes(head, form):
    assert sniff(head[:4096]) == form
