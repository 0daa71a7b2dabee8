"""Scenes as images, with the box and the mask of each thing.

Shapes: H x W pixels, H = W = the side asked for; N things.
"""

import numpy as np
from PIL import Image

from data.things.backgrounds import paint_background
from data.things.scenes import Placed, Scene
from data.things.sprites import sprite

Box = tuple[float, float, float, float]


def render_image(scene: Scene, side: int = 128) -> np.ndarray:
    """uint8 (H, W, 3)."""
    image = paint_background(scene.background, np.random.default_rng(scene.jitter), side)
    for placed in scene.placed:
        picture, (left, top) = _placed_picture(placed, side)
        image.paste(picture, (left, top), picture)
    return np.asarray(image)


def thing_mask(scene: Scene, side: int = 128) -> np.ndarray:
    """How much of each pixel things cover: float32 (H, W), 0 to 1."""
    mask = Image.new("L", (side, side))
    for placed in scene.placed:
        shape, (left, top) = _placed_shape(placed, side)
        mask.paste(255, (left, top, left + shape.width, top + shape.height), shape)
    return np.asarray(mask, dtype=np.float32) / 255


def boxes(scene: Scene, side: int = 128) -> list[Box]:
    """Left, top, right and bottom of each thing, tight, as shares of the image's side."""
    found = []
    for placed in scene.placed:
        shape, (left, top) = _placed_shape(placed, side)
        tight = shape.point([0] * 32 + [255] * 224).getbbox() or (0, 0, *shape.size)
        corners = (tight[0] + left, tight[1] + top, tight[2] + left, tight[3] + top)
        found.append(tuple(min(max(corner / side, 0.0), 1.0) for corner in corners))
    return found


def centred_boxes(scene: Scene, side: int = 128) -> list[Box]:
    """As :func:`boxes`, but the middle (x, y), width and height of each."""
    return [((a + c) / 2, (b + d) / 2, c - a, d - b) for a, b, c, d in boxes(scene, side)]


def _placed_picture(placed: Placed, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """The thing's RGBA picture at its size, and its corner in the image."""
    return _put(placed, sprite(placed.thing, placed.colour), side)


def _placed_shape(placed: Placed, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """What the thing covers, as a grey picture at its size, and its corner in the image."""
    return _put(placed, sprite(placed.thing).getchannel("A"), side)


def _put(placed: Placed, picture: Image.Image, side: int) -> tuple[Image.Image, tuple[int, int]]:
    if placed.mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = max(round(placed.side * side), 4)
    picture = picture.rotate(placed.degrees, Image.Resampling.BICUBIC).resize(
        (pixels, pixels), Image.Resampling.BICUBIC
    )
    return picture, (round(placed.x * side - pixels / 2), round(placed.y * side - pixels / 2))
