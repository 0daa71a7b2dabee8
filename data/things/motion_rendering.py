"""Scenes of things in motion as videos, with the boxes and the mask of each frame.

Shapes: F frames of H x W pixels, H = W = the side asked for.
"""

import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops

from data.poses import Pose, draw_pose
from data.things.animations import animation
from data.things.backgrounds import paint_background
from data.things.motion import ANIMATED, Moving, VideoScene
from data.things.rendering import Box
from data.things.sprites import sprite

FRAMES, FRAME_RATE = 12, 6.0
_GROUND = 0.04  # how close to the edge a thing comes


def render_video(scene: VideoScene, side: int = 128, frames: int = FRAMES) -> np.ndarray:
    """uint8 (F, H, W, 3), FRAME_RATE frames a second."""
    background = paint_background(scene.background, np.random.default_rng(scene.jitter), side)
    video = []
    for frame in range(frames):
        image = background.copy()
        for moving in scene.moving:
            layer = _layer(moving, scene, frame, frames, side)
            image.paste(layer, (0, 0), layer)
        video.append(np.asarray(image))
    return np.stack(video)


def video_boxes(scene: VideoScene, side: int = 128, frames: int = FRAMES) -> list[list[Box]]:
    """For each frame left, top, right and bottom of each thing, tight, as shares of the side."""
    return [[_box(_shape(moving, scene, frame, frames, side)) for moving in scene.moving] for frame in range(frames)]


def video_mask(scene: VideoScene, frame: int, side: int = 128, frames: int = FRAMES) -> np.ndarray:
    """How much of each pixel of a frame things cover: float32 (H, W), 0 to 1."""
    mask = Image.new("L", (side, side))
    for moving in scene.moving:
        mask = ImageChops.lighter(mask, _shape(moving, scene, frame, frames, side))
    return np.asarray(mask, np.float32) / 255


def _shape(moving: Moving, scene: VideoScene, frame: int, frames: int, side: int) -> Image.Image:
    """What a thing covers in a frame, however faint it is."""
    return _layer(moving, scene, frame, frames, side, faint=False).getchannel("A")


def _box(shape: Image.Image) -> Box:
    left, top, right, bottom = shape.point([0] * 32 + [255] * 224).getbbox() or (0, 0, 0, 0)
    return left / shape.width, top / shape.height, right / shape.width, bottom / shape.height


def _layer(moving: Moving, scene: VideoScene, frame: int, frames: int, side: int, faint: bool = True) -> Image.Image:
    """A thing alone in a frame, RGBA (H, W)."""
    pose, placed = pose_of(moving, frame / (frames - 1), scene.jitter), moving.placed
    if moving.motion == ANIMATED:
        loop = animation(placed.thing)
        picture = loop[frame * len(loop) // frames]
    else:
        picture = sprite(placed.thing, placed.colour)
    return draw_pose(picture, pose if faint else replace(pose, opacity=1.0), side)


def pose_of(moving: Moving, time: float, jitter: int) -> Pose:
    """Where a thing is at a moment from 0 to 1; it starts and stops softly."""
    placed, reach = moving.placed, 0.5 - moving.placed.side / 2 - _GROUND
    size = placed.side
    still = Pose(placed.x, placed.y, -size if placed.mirrored else size, size)
    direction = 1 if jitter % 2 else -1
    way = _eased(time)  # 0 to 1
    match moving.motion:
        case "right" | "left":
            return replace(still, x=0.5 + (1 if moving.motion == "right" else -1) * reach * (2 * way - 1))
        case "up" | "down":
            return replace(still, y=0.5 + (1 if moving.motion == "down" else -1) * reach * (2 * way - 1))
        case "grow" | "shrink":
            share = 0.35 + 0.65 * (way if moving.motion == "grow" else 1 - way)
            return replace(still, wide=still.wide * share, tall=size * share)
        case "spin":
            return replace(still, degrees=360 * direction * way)
        case "circle":
            angle, radius = 2 * math.pi * way * direction - math.pi / 2, min(reach, 0.26)
            return replace(still, x=0.5 + radius * math.cos(angle), y=0.5 + radius * math.sin(angle))
        case "shake":
            fading = math.sin(math.pi * time) ** 0.5
            swing = math.sin(2 * math.pi * 4 * time) * fading
            return replace(still, x=placed.x + 0.035 * swing, degrees=9 * swing)
        case "appear":
            return replace(still, opacity=min(1.0, 1.15 * way))
        case "flip":
            return replace(still, wide=still.wide * math.cos(2 * math.pi * way))
        case "bounce":
            return _bounced(still, time, reach)
    return still


def _bounced(still: Pose, time: float, reach: float) -> Pose:
    """Three leaps from the ground; the thing is flattened a little where it lands."""
    place = 3 * time % 1.0 if time < 1 else 0.0
    height = 4 * place * (1 - place)
    flat = 0.18 * max(0.0, 1 - height / 0.25)
    ground = 0.5 + reach
    return replace(
        still,
        y=ground - 1.5 * reach * height + still.tall * flat / 2,
        wide=still.wide * (1 + 0.7 * flat),
        tall=still.tall * (1 - flat),
    )


def _eased(time: float) -> float:
    """0 to 1, slowly at both ends."""
    return time * time * (3 - 2 * time)
