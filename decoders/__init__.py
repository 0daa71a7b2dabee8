"""Decoders: conditions in, media out. ``DECODERS`` maps a modality to its class."""

from decoders.base import Decoder
from decoders.image import ImageDecoder
from decoders.video import VideoDecoder

#: Decoder class by modality.
DECODERS: dict[str, type[Decoder]] = {"image": ImageDecoder, "video": VideoDecoder}

__all__ = ["DECODERS", "Decoder", "ImageDecoder", "VideoDecoder"]
