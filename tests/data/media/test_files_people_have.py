"""Files as phones, recorders, scanners and office programs write them: read rightly, or refused in a sentence."""

import base64
import io
import struct
from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from data.media import loading
from data.media.decoding_pool import decode_in_pool
from tests.data.media import sample_files
from tests.data.media.sample_files import TONE, numbered_video, smooth_image, write_stream

load_medium = partial(loading.load_medium, decode=decode_in_pool)
refusal = partial(sample_files.refusal, decode=decode_in_pool)

#: smooth_image's like, 32 x 48, as libheif writes it.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABoQABAAAAAAAAAD4AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAA"
    "AADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkA"
    "AAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAA"
    "AAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAE"
    "ZtZGF0AAAAOigBrxmA70vTWrbTeLQB5WcUB6aVwnxaaFVqCNzE8jby4cDYbD6e79VvcbvXMxeRY3yq2RXD1q3oJ4A="
)


def written(path, content):
    path.write_bytes(content)
    return path


def sound(form, subtype=None, samples=TONE, rate=16_000):
    target = io.BytesIO()
    soundfile.write(target, samples, rate, format=form, subtype=subtype)
    return target.getvalue()


def id3(size):
    return b"ID3\x04\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + bytes(size)


# ---------------------------------------------------------------------------------------------------------------------
# Sound


def wave_that_states(riff, data):
    content = bytearray(sound("WAV", "PCM_16"))
    content[4:8] = struct.pack("<I", riff)
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", data)
    return bytes(content)


@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0x7FFFFFFF, 0x7FFFFFFF - 36), (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF - 36), (0, 0),
        (0x7FFFF024, 0x7FFFF000), (0x80000000, 0x80000000 - 36), (36, 0), (0, 32_000), (32_036, 0x7FFFFFFF),
        (0x40000024, 0x40000000),
    ],
)  # fmt: skip
def test_recorders_that_stream_do_not_know_how_long_a_wave_will_be(tmp_path, riff, data):
    medium = load_medium(written(tmp_path / "a.wav", wave_that_states(riff, data)))
    assert medium.array.shape == (16_000,)
    np.testing.assert_allclose(medium.array, TONE, atol=1e-4)


def test_a_wave_that_ends_before_its_length_is_truncated(tmp_path):
    assert "is truncated" in refusal(written(tmp_path / "a.wav", wave_that_states(64_036, 64_000)))
    listed = sound("WAV", "PCM_16")
    listed = listed[:12] + b"LIST" + struct.pack("<I", 9_000) + b"data" * 2_250 + listed[12:]
    assert load_medium(written(tmp_path / "b.wav", listed)).array.shape == (16_000,)
    assert "is truncated" in refusal(written(tmp_path / "b.wav", listed[:-9_000]))


def test_titles_in_any_encoding(tmp_path):
    content = sound("WAV", "PCM_16")
    title = b"INFOINAM" + struct.pack("<I", 4) + b"caf\xe9"
    titled = content[:12] + b"LIST" + struct.pack("<I", len(title)) + title + content[12:]
    assert load_medium(written(tmp_path / "a.wav", titled)).array.shape == (16_000,)


@pytest.mark.parametrize("form", ["RF64", "WAVEX"])
def test_relatives_of_wave(tmp_path, form):
    content = sound(form, "PCM_16")
    np.testing.assert_allclose(load_medium(written(tmp_path / "a.wav", content)).array, TONE, atol=1e-4)
    assert "truncated" in refusal(written(tmp_path / "a.wav", content[: len(content) // 2]))


@pytest.mark.parametrize("size", [0, 300, 20_000])
@pytest.mark.parametrize("form", ["FLAC", "WAV", "AIFF", "OGG", "MP3", "RF64"])
def test_a_tag_may_stand_in_front_of_any_sound(tmp_path, form, size):
    suffix = {"RF64": "wav"}.get(form, form.lower())
    tagged = id3(size) + id3(10) + sound(form)
    medium = load_medium(written(tmp_path / f"a.{suffix}", tagged))
    assert (medium.modality, medium.rate) == ("audio", 16_000)
    assert abs(len(medium.array) - 16_000) <= 128
    assert "truncated" in refusal(written(tmp_path / f"a.{suffix}", tagged[: len(tagged) - len(sound(form)) // 2]))
    if suffix != "mp3":
        assert f"it holds {'Ogg' if form == 'OGG' else suffix.upper()}" in refusal(written(tmp_path / "a.mp3", tagged))


def test_a_tag_in_front_of_aac(tmp_path):
    with av.open(str(tmp_path / "a.aac"), "w", format="adts") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(TONE[None], format="flt", layout="mono")
        frame.sample_rate = 16_000
        for piece in av.AudioResampler(stream.format, stream.layout, 16_000, frame_size=1024).resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    whole = load_medium(tmp_path / "a.aac").array
    tagged = load_medium(written(tmp_path / "b.aac", id3(5_000) + (tmp_path / "a.aac").read_bytes())).array
    assert np.array_equal(whole, tagged) and len(whole) > 15_000


def test_bytes_behind_the_end_of_a_sound(tmp_path):
    for form in ("FLAC", "WAV", "AIFF", "OGG", "MP3"):
        medium = load_medium(written(tmp_path / f"a.{form.lower()}", sound(form) + b"TAG" + bytes(125)))
        assert abs(len(medium.array) - 16_000) <= 128


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (3 * TONE, 2 * TONE), (np.rint(TONE * 20_000), np.rint(TONE * 20_000) / 2**15),
        (np.rint(TONE.astype(float) * 2**22), TONE / 2), (TONE, TONE),
    ],
)  # fmt: skip
def test_floating_point_beyond_one_is_brought_back(tmp_path, samples, expected):
    medium = load_medium(written(tmp_path / "a.wav", sound("WAV", "FLOAT", samples)))
    assert np.abs(medium.array).max() <= 1
    np.testing.assert_allclose(medium.array, expected, atol=1e-3)


def test_floating_point_of_an_unknown_scale_is_refused(tmp_path):
    assert "samples up to 500.0" in refusal(written(tmp_path / "a.wav", sound("WAV", "FLOAT", TONE * 1000.1)))


# ---------------------------------------------------------------------------------------------------------------------
# Images


def test_pictures_of_phones_and_browsers(tmp_path):
    medium = load_medium(written(tmp_path / "a.heic", HEIC))
    assert (medium.modality, medium.array.shape) == ("image", (32, 48, 3))
    assert (
        np.abs(
            medium.array[::31, ::47].astype(int) - [[[0, 0, 128], [0, 235, 128]], [[248, 0, 128], [248, 235, 128]]]
        ).max()
        < 16
    )
    assert "truncated" in refusal(written(tmp_path / "b.heic", HEIC[:300]))
    for name, form in (("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.avif", "AVIF"), ("a.apng", "PNG")):
        Image.fromarray(smooth_image()).save(tmp_path / name, form)
        medium = load_medium(tmp_path / name)
        assert (medium.modality, medium.array.shape) == ("image", (60, 80, 3))
        assert np.abs(medium.array.astype(int) - smooth_image()).mean() < 12
    assert "its name promises HEIF, but it holds JPEG" in refusal((tmp_path / "a.jfif").rename(tmp_path / "c.heic"))


def animation(form, count=4, **options):
    frames = [Image.fromarray(frame) for frame in numbered_video(count)]
    target = io.BytesIO()
    options = {"duration": 250, **({"lossless": True} if form == "WEBP" else {}), **options}
    frames[0].save(target, form, save_all=True, append_images=frames[1:], **options)
    return target.getvalue()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_are_videos(tmp_path, form):
    path = tmp_path / f"a.{form.lower()}"
    medium = load_medium(written(path, animation(form)))
    assert (medium.modality, medium.array.shape, medium.rate) == ("video", (4, 64, 64, 3), 4.0)
    np.testing.assert_allclose(medium.array[:, 30, 30, 0], [10, 60, 110, 160], atol=4)
    many = load_medium(written(path, animation(form, 40, duration=100)))
    assert len(many.array) == 32 and many.rate == pytest.approx(8, abs=0.3)
    assert load_medium(written(path, animation(form, 1))).modality == "image"
    assert refusal(written(path, animation(form)[:-60]))


def test_an_animation_whose_first_picture_is_for_old_browsers(tmp_path):
    stills = Image.new("RGB", (64, 64), "red")
    frames = [Image.fromarray(frame) for frame in numbered_video(3)]
    stills.save(tmp_path / "a.png", save_all=True, append_images=frames, default_image=True, duration=100)
    assert load_medium(tmp_path / "a.png").array.shape == (3, 64, 64, 3)
    assert load_medium(tmp_path / "a.png").array[0, 0, 0, 1] == 10


def test_pages_of_a_picture_are_no_animation(tmp_path):
    pages = [Image.fromarray(frame) for frame in numbered_video(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert load_medium(tmp_path / "a.tif").modality == "image"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("behind", [b"\0" * 40, b"\r\n", b"junk;", b"x" * 5_000])
def test_bytes_behind_the_end_of_a_gif(tmp_path, count, behind):
    whole = animation("GIF", count)
    expected = load_medium(written(tmp_path / "a.gif", whole)).array
    assert np.array_equal(load_medium(written(tmp_path / "b.gif", whole + behind)).array, expected)
    assert "truncated" in refusal(written(tmp_path / "c.gif", whole[:-1]))


def grey(values):
    return Image.fromarray(np.tile(np.asarray(values), (4, 1)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([0, 0.3, 1]), [0, 76, 255]), (np.float32([0, 76, 255]), [0, 76, 255]),
        (np.float32([0, 25_700, 65_535]), [0, 100, 255]), (np.int32([0, 76, 255]), [0, 76, 255]),
        (np.int32([0, 25_700, 65_535]), [0, 100, 255]), (np.uint16([0, 25_700, 65_535]), [0, 100, 255]),
    ],
)  # fmt: skip
def test_deep_images_keep_their_greys(tmp_path, values, expected):
    grey(values).save(tmp_path / "a.tif")
    assert load_medium(tmp_path / "a.tif").array[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "values",
    [
        np.float32([0.1, 5, 10]),
        np.float32([-1, 0, 1]),
        np.float32([0, np.nan, 1]),
        np.int32([-5, 0, 9]),
        np.int32([0, 1, 70_000]),
    ],
)
def test_deep_images_of_an_unknown_scale_are_refused(tmp_path, values):
    grey(values).save(tmp_path / "a.tif")
    assert "a scale without a known white" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize(("aspect", "shape"), [((2, 1), (48, 128)), ((16, 11), (48, 93)), ((1, 2), (48, 32))])
def test_pixels_that_are_not_square(tmp_path, aspect, shape):
    with av.open(str(tmp_path / "a.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        for frame in numbered_video(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame[:48], format="rgb24")))
        container.mux(stream.encode())
    assert load_medium(tmp_path / "a.mp4").array.shape == (4, *shape, 3)


def test_bytes_behind_the_end_of_a_video(tmp_path):
    for name, form, codec in (("a.mp4", "mp4", "libx264"), ("a.mkv", "matroska", "libx264"), ("a.avi", "avi", "mpeg4")):
        path = write_stream(tmp_path / name, form, codec, frames=8)
        whole = load_medium(path).array
        assert np.array_equal(load_medium(written(path, path.read_bytes() + bytes(300))).array, whole)
