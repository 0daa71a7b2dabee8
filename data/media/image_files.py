"""Images and animations, read by Pillow; HEIC by its plugin pi-heif."""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from data.media.decoded import Decoded, Limits, check_pixels, sample_frames, shrunk_size
from data.media.file_formats import Refused

#: Formats whose further frames are a video. Those of others (pages of a TIFF, views of a JPEG) are left out.
_ANIMATED = ("GIF", "PNG", "WebP", "AVIF")
#: Seconds that browsers show a frame that states no time.
_FRAME_SECONDS = 0.1


def decode_image(file: BinaryIO, form: str, limits: Limits) -> Decoded:
    """uint8 (H, W, 3): orientation applied, transparency over white. An animation is a video, uint8 (F, H, W, 3)."""
    from PIL import Image

    if form == "HEIF":
        from pi_heif import register_heif_opener

        register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None  # the limit below replaces it
    with Image.open(file, formats=[form.upper()]) as image:
        check_pixels(image.width, image.height, limits)
        first = int(getattr(image, "default_image", False))  # of a PNG, shown where animations are not
        count = getattr(image, "n_frames", 1) if form in _ANIMATED else 1
        if count - first > 1:
            side = limits["frame_side"]
            frames, rate, _ = sample_frames(_timed(image, first, count, side), 1 / _FRAME_SECONDS, limits)
            decoded = Decoded("video", rate, "uint8", (len(frames), *frames[0][0], 3), b"".join(f for _, f in frames))
        else:
            size, body = _rgb(image, limits["image_side"])
            decoded = Decoded("image", None, "uint8", (*size, 3), body)
        if form == "GIF" and not _gif_ends(file):
            raise Refused("is truncated: its end mark is missing")
        return decoded


def _timed(image: Any, first: int, count: int, side: int) -> Iterator[tuple[float, float, Callable[[], Any]]]:
    """Start and end in seconds of each frame of an animation, and how to get (height, width) and bytes of it."""
    start = 0.0
    for index in range(first, count):
        image.seek(index)
        image.load()
        end = start + (image.info.get("duration") or 1000 * _FRAME_SECONDS) / 1000
        yield start, end, lambda: _rgb(image.copy(), side)
        start = end


def _gif_ends(file: BinaryIO) -> bool:
    """Whether the blocks of a GIF end with its end mark; what is behind it does not matter."""
    file.seek(10)
    flags = file.read(3)[0]
    file.seek(_colours(flags), 1)
    while kind := file.read(1):
        if kind == b";":
            return True
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            file.seek(_colours(file.read(9)[8]) + 1, 1)
        else:
            continue
        while length := ord(file.read(1) or b"\0"):
            file.seek(length, 1)
    return False


def _colours(flags: int) -> int:
    """Bytes of the colour table that flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _rgb(image: Any, side: int | None) -> tuple[tuple[int, int], bytes]:
    """(height, width) and the bytes of an image, its long side at most ``side``."""
    from PIL import Image, ImageOps

    image = _eight_bits(ImageOps.exif_transpose(image))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if side:
        width, height = image.size
        size = shrunk_size(width, height, side)
        image = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return (image.height, image.width), image.tobytes()


def _eight_bits(image: Any) -> Any:
    """An image of one channel with 16 or 32 bits a pixel, which a conversion to RGB would clip, with 8."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode not in ("I", "F"):
        return image
    import numpy as np
    from PIL import Image

    values = np.asarray(image)  # (H, W)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        scale = 255.0
    elif low >= 0 and high <= 65_535 and (values == np.rint(values)).all():
        scale = 1.0 if high <= 255 else 1 / 257
    else:
        known = "known are 0 to 1, and whole numbers from 0 to 255 or to 65535"
        raise Refused(f"has pixels of 32 bits from {low:g} to {high:g}, a scale without a known white: {known}")
    return Image.fromarray(np.rint(values * scale).astype(np.uint8))
