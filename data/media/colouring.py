"""A picture with transparency in another colour: its main part is coloured, light and shade stay."""

import numpy as np
from PIL import Image, ImageFilter

#: Colour -> RGB of its middle tone.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 32, 38),
    "orange": (242, 130, 20),
    "yellow": (246, 208, 30),
    "green": (50, 160, 58),
    "blue": (38, 96, 220),
    "purple": (134, 60, 190),
    "pink": (246, 140, 186),
    "brown": (128, 78, 42),
    "black": (44, 44, 48),
    "white": (236, 236, 238),
    "grey": (138, 140, 144),
}
#: Hues this far from a thing's main hue (of 256) and greyer than this are coloured less and less.
_HUE_REACH, _GREY = 28.0, 40.0
#: Least distance in brightness (of 256) from the middle tone to full light and full shade.
_SPAN = 60.0


def tinted(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """``image`` with its main part in ``colour``: light and shade stay, and so do details of another hue."""
    pixels = np.asarray(image)
    share = np.asarray(_main_part(image).filter(ImageFilter.BoxBlur(1)), dtype=np.float32)[..., None] / 255
    bright = np.asarray(image.convert("L"), dtype=np.float32)
    inside = (pixels[..., 3] > 128) & (share[..., 0] > 0.5)
    low, middle, high = np.percentile(bright[inside], (3, 50, 97)) if inside.any() else (0.0, 128.0, 255.0)
    # Flat things keep flat: their few levels of brightness are not stretched to the whole range.
    levels = min(low, middle - _SPAN), middle, max(high, middle + _SPAN)
    shade = np.interp(bright, levels, (-1.0, 0.0, 1.0))[..., None]
    own = np.asarray(colour, dtype=np.float32)
    coloured = np.where(shade < 0, own * (1 + 0.55 * shade), own + (255 - own) * 0.45 * shade)
    mixed = share * coloured + (1 - share) * pixels[..., :3]
    return Image.fromarray(np.concatenate((mixed.round().astype(np.uint8), pixels[..., 3:]), axis=-1))


def _main_part(image: Image.Image) -> Image.Image:
    """How much each pixel belongs to the thing's main hue, as a grey image; all of it where none prevails."""
    hsv = np.asarray(image.convert("RGB").convert("HSV"), dtype=np.float32)
    solid = np.asarray(image)[..., 3] > 128
    vivid = solid & (hsv[..., 1] > 60) & (hsv[..., 2] > 50)
    if vivid.sum() < 0.35 * solid.sum():
        grey = (hsv[..., 1] <= 60) | (hsv[..., 2] <= 50)
        return _grey_image(grey)
    counts = np.bincount(hsv[..., 0][vivid].astype(int), minlength=256).astype(np.float32)
    smooth = sum(np.roll(counts, shift) for shift in range(-8, 9))
    distance = np.abs((hsv[..., 0] - float(np.argmax(smooth)) + 128) % 256 - 128)
    share = np.clip(2 - distance / _HUE_REACH, 0, 1) * np.clip((hsv[..., 1] - _GREY + 20) / 20, 0, 1)
    if share[solid].mean() < 0.45:
        share = np.ones_like(share)
    return _grey_image(share)


def _grey_image(share: np.ndarray) -> Image.Image:
    return Image.fromarray((share * 255).astype(np.uint8))
