"""An encoder over tiny pretrained parts that sees one thing in every drawing, and has words for it."""

from pathlib import Path

import torch

from encoders.description import Vocabulary
from encoders.image_reader import ReaderConfig
from encoders.towers import AudioTowerConfig
from encoders.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from tests.tiny_parts import write_parts

CONFIG = TrunkEncoderConfig(
    image=ReaderConfig(width=16, depth=1, heads=2, objects=3, colours=2),
    audio=AudioTowerConfig(width=16, depth=1, heads=2, channels=4),
)
IMAGE = Vocabulary(
    [{"en": "cat", "zh": "猫"}, {"en": "dog", "zh": "狗"}],
    colours=[{"en": "red", "zh": "红色的"}, {"en": "blue", "zh": "蓝色的"}],
    backgrounds=[{"en": "on a beach", "zh": "在沙滩上"}],
)
AUDIO = Vocabulary([{"en": "bell", "zh": "铃"}], {"1": [{"en": "rings"}], "6": [{"en": "twice"}]})


def encoder_of_red_dogs(cache: Path) -> TrunkEncoder:
    """It sees three red dogs in the middle of every image. Its parts are written into ``cache``, the cache folder."""
    write_parts(cache)
    torch.manual_seed(0)
    encoder = TrunkEncoder.from_parts(CONFIG).eval()
    encoder.add_words("image", IMAGE, {"things": torch.eye(2, encoder.width)})
    encoder.add_words("audio", AUDIO, {name: torch.ones(1, encoder.width) for name in ("things", "1", "6")})
    reader = encoder.reader
    for layer in (encoder.photograph, reader.name, reader.colour, reader.box, reader.presence):
        torch.nn.init.zeros_(layer.weight)
    reader.name.bias.data = torch.eye(2, encoder.width)[1]
    reader.colour.bias.data = torch.tensor([5.0, 0.0])
    reader.box.bias.data = torch.zeros(4)  # the middle half
    torch.nn.init.constant_(reader.presence.bias, 4.0)
    torch.nn.init.constant_(encoder.photograph.bias, -4.0)
    return encoder
