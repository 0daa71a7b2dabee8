"""What stands where: a small network that turns the phrases of a caption into boxes, and pictures looked up for them.

A small decoder cannot know hundreds of things by heart. It is shown pictures of what is asked for (retrieval-augmented
diffusion, 2204.11824, 2204.02849), already where they belong: the layout network says which phrases stand in which
boxes and what is meant by them, the nearest of the known pictures are put there, and what the VAE makes of that joins
the condition, cell by cell. The diffusion network still has to colour, shade and compose, and follows the phrases where
nothing is known. A picture that is added can be drawn without training. Of a video there is a pose for each frame in
place of a box: so what moves how is learned by a small network, and the diffusion network draws what it is shown.

Shapes: B captions, L phrases, E their width, Q queries, F frames, K pictures, S their side, h x w cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from data.atomic import atomic_file, write_json
from data.media.colouring import COLOURS, tinted
from data.poses import Pose, draw_pose
from data.strict import read_json, read_settings, setting
from decoders.phrases import SLOTS, THINGS

#: Its folder in a decoder's.
LAYOUT = "layout"
CONFIG_FILE, WEIGHTS_FILE, PICTURES_FILE = "config.json", "model.safetensors", "pictures.webp"
#: In the file of weights: vectors of the pictures' names. In the file of pictures: those side by side.
KEYS, COLUMNS = "pictures.keys", 16
#: Numbers of a pose: centre x and y, width (negative: mirrored), height, sine, cosine and the logit of the opacity.
POSE = 7
#: What a box without a known picture, and everything around the boxes, is filled with.
GREY = 128


@dataclass(frozen=True)
class LayoutConfig:
    """Sizes of a :class:`LayoutNetwork`."""

    width: int = setting(384, low=1, help="of phrases")
    inner: int = setting(192, low=1)
    depth: int = setting(3, low=1)
    heads: int = setting(4, low=1)
    boxes: int = setting(5, low=1, help="at most")
    frames: int = setting(0, low=0, help="of a video; 0 = an image")


class LayoutNetwork(nn.Module):
    """Phrases (B, L, E) -> Q boxes, each with the phrase that stands there and the name that is looked up."""

    def __init__(self, config: LayoutConfig) -> None:
        super().__init__()
        self.config, inner = config, config.inner
        self.read = nn.Linear(config.width, inner)
        self.slots = nn.Parameter(torch.randn(SLOTS, inner) * 0.1)
        self.queries = nn.Parameter(torch.randn(config.boxes, inner) * 0.5)
        layer = nn.TransformerEncoderLayer(
            inner, config.heads, 2 * inner, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(inner), enable_nested_tensor=False)
        self.box = nn.Linear(inner, config.frames * POSE or 4)
        self.thing = nn.Linear(inner, THINGS + 1)  # which of the caption's things, or none
        self.name = nn.Sequential(
            nn.Linear(config.width, config.width), nn.GELU(), nn.Linear(config.width, config.width)
        )

    def forward(self, phrases: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> boxes (B, Q, 4), centre and size as shares of the side, or poses (B, Q, F, POSE), and logits of things
        (B, Q, THINGS + 1), the last for none."""
        queries = self.queries.expand(len(phrases), -1, -1)
        hidden = self.layers(torch.cat((self.read(phrases) + self.slots, queries), dim=1))[:, SLOTS:]
        boxes = self.box(hidden)
        boxes = boxes.unflatten(-1, (self.config.frames, POSE)) if self.config.frames else boxes.sigmoid()
        return boxes, self.thing(hidden)

    def names(self, phrases: torch.Tensor) -> torch.Tensor:
        """What a phrase is about, without colour and size: unit vectors near the name's own (..., E)."""
        return functional.normalize(phrases + self.name(phrases), dim=-1)


@dataclass
class Pictures:
    """Known pictures: their names, the names' vectors (K, E), and uint8 (K, S, S, 4) with transparency."""

    names: list[str]
    keys: torch.Tensor
    pixels: np.ndarray

    def nearest(self, wanted: torch.Tensor) -> tuple[int, float]:
        """The picture whose name's vector is nearest to ``wanted`` (E,), and the cosine."""
        cosines = self.keys @ wanted
        return int(cosines.argmax()), float(cosines.max())

    def added(self, name: str, key: torch.Tensor, picture: np.ndarray) -> "Pictures":
        """With one picture more, uint8 (H, W, 3 or 4) of any size; its whole square is shown where it has no
        transparency."""
        side = self.pixels.shape[1]
        square = np.asarray(Image.fromarray(picture).convert("RGBA").resize((side, side), Image.Resampling.BICUBIC))
        return Pictures(
            [*self.names, name], torch.cat((self.keys, key[None])), np.concatenate((self.pixels, square[None]))
        )


@dataclass(frozen=True)
class Put:
    """A box (centre x, y, width, height as shares of the side), the row of its phrase, the picture or None.

    In a frame of a video the picture is drawn in its ``pose``. With a ``colour``, a name in
    :data:`data.media.colouring.COLOURS`, its main part has that colour.
    """

    box: tuple[float, float, float, float]
    thing: int
    picture: int | None = None
    pose: Pose | None = None
    colour: str | None = None

    @classmethod
    def posed(cls, pose: Pose, thing: int, picture: int | None) -> Self:
        """With the box of a pose, the larger of its sides on both where it is turned."""
        wide, tall = abs(pose.wide), pose.tall
        if abs(math.sin(math.radians(pose.degrees))) > 0.1:
            wide = tall = max(wide, tall)
        return cls((pose.x, pose.y, wide, tall), thing, picture, pose)


def paste(pixels: np.ndarray, puts: Sequence[Put], side: int, onto: np.ndarray | None = None) -> np.ndarray:
    """Pictures uint8 (K, S, S, 4) at their boxes on grey, or ``onto`` an image of the same size: (side, side, 3)."""
    canvas = Image.new("RGB", (side, side), (GREY,) * 3) if onto is None else Image.fromarray(onto)
    for put in puts:
        if put.picture is None:
            continue
        sprite = Image.fromarray(pixels[put.picture])
        sprite = tinted(sprite, COLOURS[put.colour]) if put.colour else sprite
        if put.pose is not None:
            layer = draw_pose(sprite, put.pose, side)
            canvas.paste(layer, (0, 0), layer)
            continue
        x, y, width, height = (value * side for value in put.box)
        size = max(round(max(width, height)), 4)
        picture = sprite.resize((size, size), Image.Resampling.BICUBIC)
        canvas.paste(picture, (round(x - size / 2), round(y - size / 2)), picture)
    return np.asarray(canvas)


def cells_of(puts: Sequence[Put], cells: int) -> np.ndarray:
    """Which thing stands in each cell: int (cells, cells), -1 where none does."""
    owner = np.full((cells, cells), -1)
    centres = (np.arange(cells) + 0.5) / cells
    for put in puts:
        x, y, width, height = put.box
        inside = (abs(centres[:, None] - y) <= height / 2 + 0.5 / cells) & (
            abs(centres[None] - x) <= width / 2 + 0.5 / cells
        )
        owner[inside] = put.thing
    return owner


def read_pose(numbers: Sequence[float]) -> Pose:
    """The POSE numbers of a frame."""
    x, y, wide, tall, sine, cosine, opacity = numbers
    return Pose(x, y, wide, max(tall, 0.02), math.degrees(math.atan2(sine, cosine)), 1 / (1 + math.exp(-opacity)))


def save_layout(folder: Path, network: LayoutNetwork, pictures: Pictures) -> None:
    """Write the network in half precision, and the pictures."""
    halves = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    with atomic_file(folder / WEIGHTS_FILE) as temporary:
        save_file({**halves, KEYS: pictures.keys.half().contiguous()}, temporary)
    count, side = pictures.pixels.shape[:2]
    sheet = Image.new("RGBA", (side * COLUMNS, side * -(-count // COLUMNS)))
    for number, picture in enumerate(pictures.pixels):
        sheet.paste(Image.fromarray(picture), _place(number, side))
    with atomic_file(folder / PICTURES_FILE) as temporary:
        sheet.save(temporary, "WEBP", quality=92)
    values = {**vars(network.config), "names": pictures.names, "side": side}
    write_json(folder / CONFIG_FILE, values, ensure_ascii=False)


def load_layout(folder: Path) -> tuple[LayoutNetwork, Pictures]:
    """What :func:`save_layout` wrote, in evaluation mode."""
    values = read_json(folder / CONFIG_FILE)
    names, side = values.pop("names"), values.pop("side")
    network = LayoutNetwork(read_settings(LayoutConfig, values, str(folder / CONFIG_FILE)))
    state = load_file(folder / WEIGHTS_FILE)
    keys = state.pop(KEYS).float()
    network.load_state_dict(state)
    with Image.open(folder / PICTURES_FILE) as opened:
        sheet = opened.convert("RGBA")
    places = (_place(number, side) for number in range(len(names)))
    pixels = np.stack([np.asarray(sheet.crop((x, y, x + side, y + side))) for x, y in places])
    return network.eval(), Pictures(names, keys, pixels)


def _place(number: int, side: int) -> tuple[int, int]:
    """Left and top of a picture on the sheet."""
    return side * (number % COLUMNS), side * (number // COLUMNS)
