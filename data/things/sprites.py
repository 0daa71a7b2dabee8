"""Pictures of the things with transparency, cut from the sheets, in their own colours or in another.

Shapes: S the side of a sprite, 128 pixels.
"""

from functools import cache, lru_cache

from PIL import Image

from data.media.colouring import COLOURS, tinted
from data.things.catalogue import FOLDER, catalogue

SIDE, COLUMNS = 128, 16
#: Things that have no one colour.
UNCOLOURED = frozenset(
    ("rainbow", "sunset", "cityscape", "world map", "desert", "traffic light", "chequered flag", "pirate flag")
)


@cache
def _sheet(name: str) -> Image.Image:
    return Image.open(FOLDER / "sheets" / f"{name}.webp").convert("RGBA")


@lru_cache(maxsize=2048)  # 64 KB each
def sprite(name: str, colour: str | None = None) -> Image.Image:
    """A thing as an RGBA image of S x S, in its own colours or in one of :data:`COLOURS`. KeyError for others."""
    thing = catalogue()[name]
    left, top = thing.tile % COLUMNS * SIDE, thing.tile // COLUMNS * SIDE
    image = _sheet(thing.sheet).crop((left, top, left + SIDE, top + SIDE))
    return image if colour is None else tinted(image, COLOURS[colour])
