"""The world of things: media of named things with exact ground truth. The door; who uses it imports here.

Images and videos show about 500 things; ``sounds`` has about 70 kinds of them, ``points`` about 135 kinds of 3D models.
Images need nothing but this repository. Animations, sounds and points are made of data that data.things.fetch gets.
"""

from data.things import points, sounds
from data.things.captions import caption
from data.things.catalogue import Thing, catalogue, held_out_things, trained_things
from data.things.motion import MOTIONS, Moving, VideoScene
from data.things.motion import caption as video_caption
from data.things.motion import sample as sample_video
from data.things.motion_rendering import render_video, video_boxes, video_mask
from data.things.rendering import boxes, centred_boxes, render_image, thing_mask
from data.things.scenes import Placed, Scene, sample
from data.things.sources import BankMissing, has_bank, missing_bank
from data.things.sprites import COLOURS, sprite

__all__ = [
    "COLOURS",
    "MOTIONS",
    "BankMissing",
    "Moving",
    "Placed",
    "Scene",
    "Thing",
    "VideoScene",
    "boxes",
    "caption",
    "catalogue",
    "centred_boxes",
    "has_bank",
    "held_out_things",
    "missing_bank",
    "points",
    "render_image",
    "render_video",
    "sample",
    "sample_video",
    "sounds",
    "sprite",
    "thing_mask",
    "trained_things",
    "video_boxes",
    "video_caption",
    "video_mask",
]
