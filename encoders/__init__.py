"""Encoders: media and text into one space. ``ENCODERS`` maps the ``class`` of a manifest to the class."""

from encoders.base import Encoder
from encoders.imagebind import ImageBind, ImageBindConfig, TowerConfig
from encoders.imagebind_checkpoint import load_imagebind, load_points
from encoders.media_encoder import MediaEncoder, MediaEncoderConfig
from encoders.points import PointConfig, PointEncoder

ENCODERS: dict[str, type[Encoder]] = {"MediaEncoder": MediaEncoder}

__all__ = [
    "ENCODERS",
    "Encoder",
    "ImageBind",
    "ImageBindConfig",
    "MediaEncoder",
    "MediaEncoderConfig",
    "PointConfig",
    "PointEncoder",
    "TowerConfig",
    "load_imagebind",
    "load_points",
]
