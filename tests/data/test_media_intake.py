"""The one door for media: real files of every format go through, anything wrong is refused in one sentence."""

import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import gradio
import numpy as np
import pytest
import soundfile
from PIL import Image

from data.media.file_formats import EXTENSIONS, sniff
from data.media.loading import Limits, MediaError, Medium, load_medium
from data.media.saving import save_medium
from data.modalities import MODALITIES

ASSETS = Path(gradio.__file__).parent / "media_assets"
TONE = (0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.float32)  # (16000,), one second
DEFAULT = Limits()


def smooth_picture(height=60, width=80):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, 128 + 0 * rows], axis=-1).astype(np.uint8)


def film(count=8, size=64):
    """uint8 (count, size, size, 3), each frame of a grey that tells its number."""
    return np.stack([np.full((size, size, 3), 10 + 200 * index // count, np.uint8) for index in range(count)])


def refusal(path, limits=DEFAULT):
    with pytest.raises(MediaError) as caught:
        load_medium(path, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# What goes through


@pytest.mark.parametrize(
    "medium",
    [
        Medium("image", smooth_picture()),
        Medium("audio", TONE, 16_000.0),
        Medium("points", np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)),
    ],
    ids=lambda medium: medium.modality,
)
def test_saved_media_come_back(tmp_path, medium):
    path = save_medium(medium, tmp_path / f"a{MODALITIES[medium.modality].suffix}")
    back = load_medium(path)
    assert (back.modality, back.rate, back.source) == (medium.modality, medium.rate, str(path))
    assert back.array.dtype == medium.array.dtype
    assert back.array.flags.writeable
    np.testing.assert_allclose(back.array, medium.array, atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("size", "upscale", "repeat"), [(64, 1, 1), (63, 1, 1), (64, 2, 3)])
def test_a_saved_video_plays_in_browsers_and_comes_back(tmp_path, size, upscale, repeat):
    path = save_medium(Medium("video", film(size=size), 4.0), tmp_path / "a.mp4", upscale=upscale, repeat=repeat)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.width, codec.height) == ((size * upscale + 1) // 2 * 2,) * 2
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    back = load_medium(path)
    assert back.rate == 4.0 * repeat
    np.testing.assert_allclose(back.array[::repeat, :60, :60].astype(int), film(size=60), atol=4)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WebP", "BMP", "TIFF", "GIF"])
def test_pictures_of_every_format(tmp_path, form):
    suffix = next(suffix for suffix, name in EXTENSIONS.items() if name == form)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(smooth_picture()).save(path)
    medium = load_medium(path)
    assert (medium.modality, medium.array.shape) == ("image", (60, 80, 3))
    assert np.abs(medium.array.astype(int) - smooth_picture()).mean() < 12


@pytest.mark.parametrize(
    ("name", "form", "subtype", "tolerance"),
    [
        ("a.wav", "WAV", "PCM_16", 1e-4),
        ("a.wav", "WAV", "PCM_24", 1e-5),
        ("a.wav", "WAV", "FLOAT", 1e-6),
        ("a.flac", "FLAC", "PCM_16", 1e-4),
        ("a.aiff", "AIFF", "PCM_16", 1e-4),
        ("a.ogg", "OGG", "VORBIS", 0.05),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_sounds_of_every_format_are_mixed_to_one_channel(tmp_path, name, form, subtype, tolerance):
    soundfile.write(tmp_path / name, np.stack([TONE, TONE / 2], axis=1), 16_000, format=form, subtype=subtype)
    medium = load_medium(tmp_path / name)
    assert (medium.modality, medium.rate, medium.array.dtype) == ("audio", 16_000.0, np.float32)
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(medium.array[: len(TONE)][middle], 0.75 * TONE[middle], atol=tolerance)


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
            for array in film(frames):
                noisy = array // 2 + rng.integers(0, 100, array.shape, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.webm", "webm", "libvpx"),
        ("a.mkv", "matroska", "libx264"),
        ("a.mov", "mov", "libx264"),
        ("a.avi", "avi", "mpeg4"),
    ],
)
def test_long_videos_are_sampled_evenly_over_their_whole_length(tmp_path, name, form, codec):
    medium = load_medium(write_stream(tmp_path / name, form, codec), Limits(frames=5, frame_side=32))
    assert medium.array.shape == (5, 32, 32, 3)
    assert 0.9 <= medium.rate <= 1.4
    steps = np.diff(medium.array.mean(axis=(1, 2, 3)))
    assert (steps > 10).all()
    assert steps.max() < 2 * steps.min()


@pytest.mark.parametrize(("name", "form", "codec"), [("a.m4a", "mp4", "aac"), ("a.webm", "webm", "libopus")])
def test_containers_without_pictures_are_sound(tmp_path, name, form, codec):
    medium = load_medium(write_stream(tmp_path / name, form, codec))
    assert (medium.modality, medium.rate) == ("audio", 48_000.0)
    assert abs(len(medium.array) - 192_000) < 5_000


def test_a_video_is_turned_upright(tmp_path):
    """A display matrix for a quarter turn, written where an MP4 keeps it: in the header of the track."""
    path = save_medium(Medium("video", np.pad(film(4, 64), ((0, 0), (0, 0), (0, 64), (0, 0))), 4.0), tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    matrix = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    at = content.index(matrix, content.index(b"tkhd"))
    content[at : at + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 64 << 16, 0, 0x40000000)
    path.write_bytes(content)
    medium = load_medium(path)
    assert medium.array.shape == (4, 128, 64, 3)
    assert medium.array[-1, :60].mean() > 100 > 10 > medium.array[-1, 70:].mean()


def test_photos_and_recordings_go_through():
    photo = load_medium(ASSETS / "images/lion.jpg")
    assert photo.array.shape == (256, 256, 3)
    assert load_medium(ASSETS / "audio/cate_blanch.mp3").rate == 32_000
    assert load_medium(ASSETS / "audio/recording1.wav").array.shape == (159_744,)
    assert load_medium(ASSETS / "videos/b.mp4").array.shape == (32, 270, 480, 3)


def test_orientation_and_transparency(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(smooth_picture()).save(tmp_path / "turned.jpg", exif=exif)
    assert load_medium(tmp_path / "turned.jpg").array.shape == (80, 60, 3)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_medium(tmp_path / "clear.png").array == 255).all()
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(load_medium(tmp_path / "deep.png").array[..., 0].ravel(), np.arange(256))


def test_a_moving_gif_is_a_video(tmp_path):
    frames = [Image.fromarray(frame) for frame in film(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=250)
    medium = load_medium(tmp_path / "a.gif")
    assert (medium.modality, len(medium.array), medium.rate) == ("video", 4, 4.0)


PLY = (
    "ply\nformat {} 1.0\ncomment made here\nelement vertex 2\nproperty float x\nproperty uchar red\nproperty float y\n"
)
PLY += "property double z\nelement face 0\nproperty list uchar int vertex_indices\nend_header\n"
POINTS = np.array([[1.0, 2.0, 3.0], [-1.5, 0.0, 4.25]], np.float32)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xyz", b"1 2 3\n-1.5 0 4.25\n"),
        ("a.xyz", b"# a comment\n1 2 3 255\n\n-1.5 0 4.25 255\n"),
        ("a.csv", b"x,y,z\n1,2,3\n-1.5,0,4.25\n"),
        ("a.ply", PLY.format("ascii").encode() + b"1 9 2 3\n-1.5 9 0 4.25\n"),
        ("a.ply", PLY.format("binary_little_endian").encode() + struct.pack("<fBfdfBfd", 1, 9, 2, 3, -1.5, 9, 0, 4.25)),
        ("a.ply", PLY.format("binary_big_endian").encode() + struct.pack(">fBfdfBfd", 1, 9, 2, 3, -1.5, 9, 0, 4.25)),
    ],
)
def test_point_clouds_of_every_format(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    medium = load_medium(tmp_path / name)
    assert medium.modality == "points"
    assert np.array_equal(medium.array, POINTS)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


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
    Image.fromarray(smooth_picture()).save(tmp_path / "a.wav", format="PNG")
    message = refusal(tmp_path / "a.wav")
    assert "promises WAV, but it holds PNG" in message
    assert "rename it to a.png" in message
    save_medium(Medium("video", film(), 4.0), tmp_path / "a.mp4").rename(tmp_path / "b.m4a")
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
def test_truncated_pictures(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a{suffix}")
    assert "truncated" in refusal(truncated(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg", ".mp3"])
def test_truncated_sounds(tmp_path, suffix):
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
    fast = save_medium(Medium("video", film(), 4.0), tmp_path / "fast.mp4")
    assert "truncated" in refusal(truncated(fast))


def test_truncated_points(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((50, 3)))
    assert "truncated" in refusal(truncated(tmp_path / "a.npy"))
    for form, body in (("ascii", b"1 9 2 3\n"), ("binary_little_endian", struct.pack("<fBfd", 1, 9, 2, 3))):
        (tmp_path / "a.ply").write_bytes(PLY.format(form).encode() + body)
        assert "truncated" in refusal(tmp_path / "a.ply")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_picture_of_20000_by_20000_is_refused_by_its_header(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    (tmp_path / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))))
    assert "20000 x 20000 pixels, more than the 64 million" in refusal(tmp_path / "big.png")


def test_an_hour_of_sound_is_refused(tmp_path):
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


def test_a_medium_is_saved_under_its_own_extension_or_not_at_all(tmp_path):
    with pytest.raises(MediaError, match=r"written as \.wav only"):
        save_medium(Medium("audio", TONE, 16_000.0), tmp_path / "a.mp3")
    with pytest.raises(MediaError, match="unknown modality 'smell'"):
        save_medium(Medium("smell", TONE), tmp_path / "a.wav")
    with pytest.raises(ValueError, match="shape"):
        save_medium(Medium("audio", np.zeros((2, 2, 2), np.float32), 16_000.0), tmp_path / "a.wav")
    assert list(tmp_path.iterdir()) == []


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
