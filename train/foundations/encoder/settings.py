"""Settings of the encoder's training, and the encoder's configuration that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from encoders import ImageBindConfig, MediaEncoderConfig, PointConfig, TowerConfig
from encoders.preprocess_audio import AudioSettings
from encoders.preprocess_image import ImageSettings
from encoders.preprocess_video import VideoSettings
from train.foundations.pools import DataSettings
from train.settings import setting

#: Medium -> setting that says how many of it are prepared.
COUNTS = {"image": "images", "video": "videos", "audio": "sounds", "points": "clouds"}


@dataclass(frozen=True)
class ContrastSettings(DataSettings):
    """Settings of :class:`ContrastTask`."""

    variations: int = setting(8, low=1, help="of each medium of a manifest, all but the first slightly changed")
    shared_width: int = setting(256, low=1)
    image_size: int = setting(64, low=8)
    patch: int = setting(8, low=1)
    vision_width: int = setting(128, low=4)
    vision_depth: int = setting(4, low=1)
    audio_width: int = setting(128, low=4)
    audio_depth: int = setting(4, low=1)
    text_width: int = setting(128, low=4)
    text_depth: int = setting(3, low=1)
    vocabulary: int = setting(1024, low=1)
    images: int = setting(24000, low=0, help="media prepared for training, those out of distribution included; at most")
    videos: int = setting(8000, low=0)
    sounds: int = setting(12000, low=0)
    clouds: int = setting(6000, low=0)
    outsider_every: int = setting(8, low=0, help="every 8th medium is out of distribution; 0 = none")
    shares: dict[str, float] = setting(
        {"image": 0.44, "video": 0.16, "audio": 0.28, "points": 0.12}, low=0, help="of the media in a batch"
    )
    attribute_weight: float = setting(2.0, low=0, help="of the contrast with attributes")
    attribute_scale: float = setting(12.0, above=0, help="of the cosines of that contrast, at the start")
    contrast_weight: float = setting(1.0, low=0, help="of the contrast with whole phrases")
    thing_weight: float = setting(1.0, low=0, help="of the thing among the attributes")
    recoloured: float = setting(0.0, low=0, high=1, help="share of images and clips in colours that no word fits")
    rough: float = setting(0.0, low=0, high=1, help="share of images decoded by the image VAE from noisy latents")
    latent_noise: float = setting(0.7, low=0, help="greatest deviation of the noise on those latents")
    keep_weight: float = setting(0.0, low=0, help="of the distance to the embeddings of the encoder named by start")
    start: str = setting("", help="folder in the model folder of an encoder to go on from; none = a new one")
    held_out: int = setting(400, low=2, help="media of each kind that evaluate() uses")
    cache: str = ".cache/encoder"

    def __post_init__(self) -> None:
        if unknown := set(self.shares) - set(COUNTS):
            raise ValueError(f"shares: unknown medium {min(unknown)!r}: expected {', '.join(COUNTS)}")
        if self.keep_weight and not self.start:
            raise ValueError("keep_weight must be 0 where start names no encoder: there is none to keep to")


def small_config(settings: ContrastSettings, vocabulary: int, with_points: bool) -> MediaEncoderConfig:
    """The encoder of the embedded model: ImageBind's towers at small width."""
    shared, size, patch = settings.shared_width, settings.image_size, settings.patch
    cube, strip = (2, patch, patch), (16, 12)
    vision = TowerConfig(settings.vision_width, settings.vision_depth, 4, (3, 2, size, size), cube, cube)
    audio = TowerConfig(settings.audio_width, settings.audio_depth, 4, (1, 64, 204), strip, strip, logit_scale=20.0)
    text = TowerConfig(settings.text_width, settings.text_depth, 4, (48,), vocabulary=vocabulary, logit_scale=14.3)
    points = None if not with_points else PointConfig(
        width=96, depth=3, heads=4, groups=32, group_size=16, patch_widths=(32, 64, 128), patch_output=96,
        position_width=64, projection_width=128, shared_width=shared, points=256, head_dropout=0.0,
    )  # fmt: skip
    return MediaEncoderConfig(
        ImageBindConfig(shared, {"vision": vision, "text": text, "audio": audio}),
        {
            "image": ImageSettings(size=size, mean=(0.5, 0.5, 0.5), deviation=(0.27, 0.27, 0.27)),
            "video": VideoSettings(clips=3, clip_seconds=0.0, crops=1),
            "audio": AudioSettings(mels=64, mean=-7.4, deviation=7.4),
            **({"points": points} if points else {}),
        },
    )
