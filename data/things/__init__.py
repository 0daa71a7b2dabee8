"""The world of things: scenes of about 500 named things with exact ground truth. The door; who uses it imports here."""

from data.things.captions import caption
from data.things.catalogue import Thing, catalogue, held_out_things, trained_things
from data.things.rendering import boxes, render_image, thing_mask
from data.things.scenes import Placed, Scene, sample
from data.things.sprites import COLOURS, sprite

__all__ = [
    "COLOURS",
    "Placed",
    "Scene",
    "Thing",
    "boxes",
    "caption",
    "catalogue",
    "held_out_things",
    "render_image",
    "sample",
    "sprite",
    "thing_mask",
    "trained_things",
]
