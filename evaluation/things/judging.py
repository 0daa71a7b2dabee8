"""What is in images that a model made, as an encoder trained on the world reads it, and whether it was asked for.

The encoder judges decoders, which are trained without it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from data.things import COLOURS, catalogue
from encoders.trunk_encoder import TrunkEncoder
from evaluation.things.attributes import Wanted, wanted

#: Where the middle of a box is, as shares of the sides, for each word of a place.
_SIDES = {"left": (0, 0.0, 0.45), "right": (0, 0.55, 1.0), "top": (1, 0.0, 0.45), "bottom": (1, 0.55, 1.0)}


@dataclass(frozen=True)
class Seen:
    """A thing in an image, its likeliest colour, and the middle of its box as shares of the image's sides."""

    thing: str
    colour: str
    middle: tuple[float, float]

    def stands(self, place: str) -> bool:
        """Whether it stands "at the top left"; anything does where no place is said."""
        sides = [_SIDES[word] for word in place.split() if word in _SIDES]
        return all(low <= self.middle[axis] <= high for axis, low, high in sides)


class ImageJudge:
    """Names the things in images."""

    def __init__(self, encoder: TrunkEncoder) -> None:
        self.encoder, self.names = encoder, list(catalogue())
        self.table = encoder.embed_text(self.names)  # (K, E)

    @torch.no_grad()
    def see(self, image: np.ndarray) -> list[Seen]:
        """The things in an image uint8 (H, W, 3)."""
        encoder = self.encoder
        maps = encoder.trunk.features(encoder.preprocess("image", image)[None])
        _, objects = encoder.reader(encoder.reader.patches(maps))
        read = {name: value[0] for name, value in encoder.reader.read(objects).items()}
        colours, names = list(COLOURS), (read["name"] @ self.table.T).argmax(-1).tolist()
        return [
            Seen(self.names[name], colours[colour], (box[0], box[1]))
            for name, colour, box, presence in zip(
                names, read["colour"].argmax(-1).tolist(), read["box"].tolist(), read["presence"].tolist(), strict=True
            )
            if presence > 0
        ]

    def agreement(self, caption: str, image: np.ndarray, rate: float | None = None) -> dict[str, bool]:
        """Which attributes that the caption asks for the image has: thing, number, and colour and place where said."""
        things, number = wanted(caption)
        seen = self.see(image)
        found = {"thing": all(_found(seen, thing) for thing in things), "number": len(seen) == number}
        if coloured := [thing for thing in things if thing.colour]:
            found["colour"] = all(_found(seen, thing, colour=True) for thing in coloured)
        if placed := [thing for thing in things if thing.place]:
            found["place"] = all(_found(seen, thing, place=True) for thing in placed)
        return found


def _found(seen: list[Seen], wanted: Wanted, colour: bool = False, place: bool = False) -> bool:
    return any(
        each.thing == wanted.thing
        and (not colour or each.colour == wanted.colour)
        and (not place or each.stands(wanted.place))
        for each in seen
    )
