"""Real files of every format are loaded, and media are saved."""

import struct
from pathlib import Path

import av
import gradio
import numpy as np
import pytest
import soundfile
from PIL import Image

from data.media.file_formats import EXTENSIONS
from data.media.loading import Limits, MediaError, Medium, load_medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from tests.data.media.sample_files import PLY, TONE, numbered_video, smooth_image, write_stream

ASSETS = Path(gradio.__file__).parent / "media_assets"


@pytest.mark.parametrize(
    "medium",
    [
        Medium("image", smooth_image()),
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
    path = save_medium(
        Medium("video", numbered_video(size=size), 4.0), tmp_path / "a.mp4", upscale=upscale, repeat=repeat
    )
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.width, codec.height) == ((size * upscale + 1) // 2 * 2,) * 2
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    back = load_medium(path)
    assert back.rate == 4.0 * repeat
    np.testing.assert_allclose(back.array[::repeat, :60, :60].astype(int), numbered_video(size=60), atol=4)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WebP", "BMP", "TIFF", "GIF"])
def test_images_of_every_format(tmp_path, form):
    suffix = next(suffix for suffix, name in EXTENSIONS.items() if name == form)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(smooth_image()).save(path)
    medium = load_medium(path)
    assert (medium.modality, medium.array.shape) == ("image", (60, 80, 3))
    assert np.abs(medium.array.astype(int) - smooth_image()).mean() < 12


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
def test_audio_of_every_format_is_mixed_to_one_channel(tmp_path, name, form, subtype, tolerance):
    soundfile.write(tmp_path / name, np.stack([TONE, TONE / 2], axis=1), 16_000, format=form, subtype=subtype)
    medium = load_medium(tmp_path / name)
    assert (medium.modality, medium.rate, medium.array.dtype) == ("audio", 16_000.0, np.float32)
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(medium.array[: len(TONE)][middle], 0.75 * TONE[middle], atol=tolerance)


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
    assert medium.rate == pytest.approx(1.15, abs=0.25)
    steps = np.diff(medium.array.mean(axis=(1, 2, 3)))
    assert (steps > 10).all()
    assert steps.max() < 2 * steps.min()


@pytest.mark.parametrize(("name", "form", "codec"), [("a.m4a", "mp4", "aac"), ("a.webm", "webm", "libopus")])
def test_containers_without_video_are_audio(tmp_path, name, form, codec):
    medium = load_medium(write_stream(tmp_path / name, form, codec))
    assert (medium.modality, medium.rate) == ("audio", 48_000.0)
    assert abs(len(medium.array) - 192_000) < 5_000


def test_a_video_is_rotated_upright(tmp_path):
    """A display matrix for a quarter turn, written where an MP4 keeps it: in the header of the track."""
    path = save_medium(
        Medium("video", np.pad(numbered_video(4, 64), ((0, 0), (0, 0), (0, 64), (0, 0))), 4.0), tmp_path / "a.mp4"
    )
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
    Image.fromarray(smooth_image()).save(tmp_path / "turned.jpg", exif=exif)
    assert load_medium(tmp_path / "turned.jpg").array.shape == (80, 60, 3)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_medium(tmp_path / "clear.png").array == 255).all()
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(load_medium(tmp_path / "deep.png").array[..., 0].ravel(), np.arange(256))


def test_an_animated_gif_is_a_video(tmp_path):
    frames = [Image.fromarray(frame) for frame in numbered_video(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=250)
    medium = load_medium(tmp_path / "a.gif")
    assert (medium.modality, len(medium.array), medium.rate) == ("video", 4, 4.0)


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


def test_a_medium_is_saved_under_its_own_extension_or_not_at_all(tmp_path):
    with pytest.raises(MediaError, match=r"written as \.wav only"):
        save_medium(Medium("audio", TONE, 16_000.0), tmp_path / "a.mp3")
    with pytest.raises(MediaError, match="unknown modality 'smell'"):
        save_medium(Medium("smell", TONE), tmp_path / "a.wav")
    with pytest.raises(ValueError, match="shape"):
        save_medium(Medium("audio", np.zeros((2, 2, 2), np.float32), 16_000.0), tmp_path / "a.wav")
    assert list(tmp_path.iterdir()) == []
