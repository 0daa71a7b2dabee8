"""Decoders: conditions in, media out. ``DECODERS`` maps a modality to its class."""

from decoders.audio import AudioDecoder
from decoders.base import Decoder
from decoders.image import ImageDecoder
from decoders.unclip import UnclipDecoder
from decoders.video import VideoDecoder

#: Decoder class by modality.
DECODERS: dict[str, type[Decoder]] = {"image": ImageDecoder, "video": VideoDecoder, "audio": AudioDecoder}

__all__ = ["DECODERS", "AudioDecoder", "Decoder", "ImageDecoder", "UnclipDecoder", "VideoDecoder"]
