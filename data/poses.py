"""Poses: how a picture is placed in a frame, and the drawing of it."""

import math
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Pose:
    """How a thing is drawn in a frame: centre, width and height as shares of the side (a negative width is mirrored),
    degrees, opacity."""

    x: float
    y: float
    wide: float
    tall: float
    degrees: float = 0.0
    opacity: float = 1.0


def draw_pose(picture: Image.Image, pose: Pose, side: int) -> Image.Image:
    """``picture``, RGBA, at its pose on an empty image (side, side), to fractions of a pixel."""
    layer = _placed(picture, pose, side)
    if pose.opacity < 1:
        layer.putalpha(layer.getchannel("A").point([round(value * max(pose.opacity, 0)) for value in range(256)]))
    return layer


def _placed(picture: Image.Image, pose: Pose, side: int) -> Image.Image:
    wide, tall = abs(pose.wide) * side, pose.tall * side
    small = picture.resize((max(round(wide), 2), max(round(tall), 2)), Image.Resampling.BICUBIC)
    across, down = small.width / math.copysign(max(wide, 1.0), pose.wide), small.height / max(tall, 1.0)
    cosine, sine = math.cos(math.radians(pose.degrees)), math.sin(math.radians(pose.degrees))
    x, y = pose.x * side, pose.y * side
    matrix = (
        across * cosine, across * sine, small.width / 2 - across * (cosine * x + sine * y),
        -down * sine, down * cosine, small.height / 2 - down * (cosine * y - sine * x),
    )  # fmt: skip
    framed = Image.new("RGBA", (small.width + 2, small.height + 2))  # a clear border: edges are blended, not cut
    framed.paste(small, (1, 1))
    matrix = (*matrix[:2], matrix[2] + 1, *matrix[3:5], matrix[5] + 1)
    return framed.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
