"""Reads the feature maps of a frozen classifier: what an image shows as a whole, and the things in it one by one.

    maps of stride 8, 16, 32 -> 7 x 7 patches -+
    class token, Q object queries -------------+-> transformer -> embedding (E,)
                                                              -> Q object tokens (E,): name, colour, box, or none

Colour, place and number are lost in a classifier's last layer and live in its middle ones. Queries find things as in
DETR (2005.12872). Shapes: B images, P patches, D width of the transformer, Q queries, E width of the shared space.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from data.strict import setting


@dataclass(frozen=True)
class ReaderConfig:
    """Sizes of an :class:`ImageReader`."""

    width: int = setting(256, low=1)
    depth: int = setting(4, low=1)
    heads: int = setting(4, low=1)
    objects: int = setting(8, low=1, help="things that are told apart at most")
    colours: int = setting(11, low=1)
    #: channels of the trunk's maps of stride 8, 16 and 32
    maps: tuple[int, int, int] = setting((40, 112, 1280), low=1)
    grid: int = setting(7, low=1, help="side of the map of stride 32")


class ImageReader(nn.Module):
    """Embedding and object tokens of images whose feature maps a trunk gives."""

    def __init__(self, config: ReaderConfig, shared_width: int) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.maps
        width, tokens = config.width, 1 + config.objects + config.grid**2
        self.join = nn.Linear(4 * fine + 4 * middle + coarse, width)
        self.queries = nn.Parameter(torch.randn(1 + config.objects, width) * 0.5)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.1)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.whole = nn.Linear(width, shared_width)
        self.object = nn.Linear(width, shared_width)
        # What object tokens tell, each by one layer: so it lies open in them for whoever reads them.
        self.name = nn.Linear(shared_width, shared_width)
        self.colour = nn.Linear(shared_width, config.colours)
        self.box = nn.Linear(shared_width, 4)
        self.presence = nn.Linear(shared_width, 1)

    @staticmethod
    def patches(maps: dict[int, torch.Tensor]) -> torch.Tensor:
        """Maps by stride -> what they say of each cell of the coarsest: (B, P, channels)."""
        side = maps[32].shape[-1]
        fine = functional.pixel_unshuffle(functional.adaptive_avg_pool2d(maps[8], 2 * side), 2)
        middle = functional.pixel_unshuffle(maps[16], 2)
        return torch.cat((fine, middle, maps[32]), dim=1).flatten(2).transpose(1, 2)

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches (B, P, channels) -> embeddings (B, E) of any length, object tokens (B, Q, E)."""
        queries = self.queries.expand(len(patches), -1, -1)
        hidden = self.layers(torch.cat((queries, self.join(patches)), dim=1) + self.positions)
        objects = self.config.objects
        return self.whole(hidden[:, 0]), self.object(hidden[:, 1 : 1 + objects])

    def read(self, objects: torch.Tensor) -> dict[str, torch.Tensor]:
        """Object tokens (..., E) -> "name" unit (..., E), "colour" logits, "box" (..., 4) centre and size, 0 to 1, and
        "presence" logits (...)."""
        return {
            "name": functional.normalize(self.name(objects), dim=-1),
            "colour": self.colour(objects),
            "box": self.box(objects).sigmoid(),
            "presence": self.presence(objects)[..., 0],
        }
